//! The texts of errors, worded as Redis does.

use intd::Told;

/// The error for a sequence's error. Clients retry after `TRYAGAIN`.
pub(super) fn text(error: &Told) -> String {
    let prefix = match error.code {
        "unavailable" | "busy" => "TRYAGAIN",
        _ => "ERR",
    };
    match error.code {
        "exhausted" => format!(
            "ERR increment or decrement would overflow: {}",
            error.detail
        ),
        _ => format!("{prefix} {}", error.detail),
    }
}

pub(super) fn not_a_key() -> String {
    "ERR this sequence does not exist: keys are UTF-8".to_owned()
}

/// As Redis words it.
pub(super) fn unknown(name: &[u8], arguments: &[&[u8]]) -> String {
    let mut list = String::new();
    for argument in arguments {
        if list.len() >= 128 {
            break;
        }
        list.push_str(&format!("'{}' ", shown(argument)));
    }
    format!(
        "ERR unknown command '{}', with args beginning with: {list}",
        shown(name)
    )
}

/// The beginning of a client's text.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().take(128).collect()
}
