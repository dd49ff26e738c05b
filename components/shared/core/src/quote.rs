//! Quotes from servers in error messages.

/// The maximum length of a quote, in characters.
const MOST: usize = 200;

/// Quotes texts from servers without the secrets that were sent to them: a proxy may echo a request.
#[derive(Default)]
pub struct Quoter {
    secrets: Vec<String>,
}

impl Quoter {
    /// A quoter that masks these secrets.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self {
            secrets: secrets.into_iter().filter(|s| !s.is_empty()).collect(),
        }
    }

    /// The beginning of a text, on one line.
    pub fn quote(&self, text: &str) -> String {
        let clean = self
            .secrets
            .iter()
            .fold(text.trim().to_owned(), |text, s| text.replace(s, "***"));
        let mut line: String = clean
            .chars()
            .take(MOST)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if clean.chars().nth(MOST).is_some() {
            line.push('…');
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out() {
        let quoter = Quoter::new(["hunter2".to_owned(), String::new()]);
        assert_eq!(quoter.quote("no hunter2 here"), "no *** here");
        let across = format!("{}hunter2", "x".repeat(197));
        assert_eq!(quoter.quote(&across), format!("{}***", "x".repeat(197)));
    }

    #[test]
    fn quotes_are_one_short_line() {
        let quoter = Quoter::default();
        assert_eq!(quoter.quote("leader\r\nnot found\n"), "leader  not found");
        assert_eq!(quoter.quote(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(
            quoter.quote(&"é".repeat(201)),
            format!("{}…", "é".repeat(200))
        );
    }
}
