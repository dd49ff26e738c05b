//! What the user demands of a server's certificate. A component may verify more, and never less.

use crate::bindings::tls::artisanal::integers::tls::Verification;
use engine_dsn::Dsn;

/// The weakest verification that the user permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand(Verification);

/// Everything is verified.
impl Default for Demand {
    fn default() -> Self {
        Self(Verification::Name)
    }
}

impl Demand {
    /// The demand of a DSN. Whatever does not ask for less in the words of MySQL's and PostgreSQL's DSNs
    /// demands everything.
    pub(crate) fn of(dsn: &Dsn) -> Self {
        Self(match dsn.scheme() {
            "mysql" | "mariadb" => match dsn.param("tls") {
                Some("verify-ca") => Verification::Authority,
                Some("skip-verify") => Verification::Nothing,
                _ => Verification::Name,
            },
            "postgres" | "postgresql" => match dsn.param("sslmode") {
                Some("verify-ca") => Verification::Authority,
                Some("require") => Verification::Nothing,
                _ => Verification::Name,
            },
            _ => Verification::Name,
        })
    }

    /// The stronger one of this and what a component asks for.
    pub(super) fn and(self, asked: Verification) -> Verification {
        match (self.0, asked) {
            (Verification::Name, _) | (_, Verification::Name) => Verification::Name,
            (Verification::Authority, _) | (_, Verification::Authority) => Verification::Authority,
            (Verification::Nothing, Verification::Nothing) => Verification::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dsn_can_ask_for_less() {
        let demand = |dsn: &str| Demand::of(&dsn.parse().expect(dsn)).0;
        for dsn in [
            "rediss://h?tls=skip-verify",
            "mysql://u@h/d",
            "mysql://u@h/d?tls=true",
            "mysql://u@h/d?tls=skip-verify&tls=verify",
            "mysql://u@h/d?sslmode=require",
            "postgres://u@h/d?sslmode=verify-full",
            "postgres://u@h/d?sslmode=prefer",
            "https://h?sslmode=require",
        ] {
            assert_eq!(demand(dsn), Verification::Name, "{dsn}");
        }
        for dsn in [
            "mariadb://u@h/d?tls=verify-ca",
            "postgresql://u@h/d?sslmode=verify-ca",
        ] {
            assert_eq!(demand(dsn), Verification::Authority, "{dsn}");
        }
        for dsn in [
            "u:p@tcp(h:3306)/d?tls=skip-verify",
            "host=h user=u dbname=d sslmode=require",
        ] {
            assert_eq!(demand(dsn), Verification::Nothing, "{dsn}");
        }
    }

    #[test]
    fn a_component_cannot_ask_for_less_than_the_user() {
        use Verification::{Authority, Name, Nothing};
        for (user, component, result) in [
            (Name, Nothing, Name),
            (Name, Authority, Name),
            (Authority, Nothing, Authority),
            (Authority, Name, Name),
            (Nothing, Authority, Authority),
            (Nothing, Nothing, Nothing),
        ] {
            assert_eq!(Demand(user).and(component), result);
        }
    }
}
