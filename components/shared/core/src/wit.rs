//! Conversions between [`Error`](crate::Error) and the `error` of `wit/types.wit`.

/// Implements `From` between [`Error`](crate::Error) and `$wit`, in both directions.
///
/// The bindings of each component have an `error` of their own, so there is no single type to convert. The core's
/// error has more cases, which come from the layers above an engine: they become `other`.
#[macro_export]
macro_rules! convert_wit_error {
    ($wit:ty) => {
        const _: () = {
            type WitError = $wit;

            impl From<WitError> for $crate::Error {
                fn from(error: WitError) -> Self {
                    match error {
                        WitError::Invalid(reason) => Self::Invalid(reason),
                        WitError::TooSmall(current) => Self::TooSmall(current),
                        WitError::Exhausted(reason) => Self::Exhausted(reason),
                        WitError::Denied(reason) => Self::Denied(reason),
                        WitError::Unavailable(reason) => Self::Unavailable(reason),
                        WitError::Other(reason) => Self::Other(reason),
                    }
                }
            }

            impl From<$crate::Error> for WitError {
                fn from(error: $crate::Error) -> Self {
                    use $crate::Error;
                    match error {
                        Error::Invalid(reason) => Self::Invalid(reason),
                        Error::TooSmall(current) => Self::TooSmall(current),
                        Error::Exhausted(reason) => Self::Exhausted(reason),
                        Error::Denied(reason) => Self::Denied(reason),
                        Error::Unavailable(reason) => Self::Unavailable(reason),
                        error => Self::Other(error.to_string()),
                    }
                }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    use crate::Error;

    #[derive(Clone, Debug, PartialEq)]
    enum Wit {
        Invalid(String),
        TooSmall(i64),
        Exhausted(String),
        Denied(String),
        Unavailable(String),
        Other(String),
    }

    convert_wit_error!(Wit);

    #[test]
    fn each_case_is_kept() {
        let reason = || String::from("why");
        for wit in [
            Wit::Invalid(reason()),
            Wit::TooSmall(i64::MAX),
            Wit::Exhausted(reason()),
            Wit::Denied(reason()),
            Wit::Unavailable(reason()),
            Wit::Other(reason()),
        ] {
            assert_eq!(Wit::from(Error::from(wit.clone())), wit);
        }
    }

    #[test]
    fn cases_of_other_layers_are_other() {
        assert_eq!(Wit::from(Error::Busy), Wit::Other(Error::Busy.to_string()));
    }
}
