//! The parameters `flake` and `flake-node`, which are removed from the DSN that the engine gets.

use artisanal_core::Error;
use artisanal_core::flake::Layout;
use engine_dsn::take_param;

/// What a DSN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The DSN for the engine.
    pub dsn: String,
    /// The layout of the flakes.
    pub layout: Layout,
    /// The only node number to hold; None for any.
    pub node: Option<u32>,
}

impl Settings {
    /// Splits a DSN.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layout or node that is not one.
    pub fn of(dsn: &str) -> Result<Self, Error> {
        let (dsn, layout) = take_param(dsn, "flake");
        let (dsn, node) = take_param(&dsn, "flake-node");
        let layout = layout.map_or(Ok(Layout::STANDARD), |text| text.parse())?;
        let node = node
            .map(|text| {
                text.parse().map_err(|_| {
                    let most = layout.nodes() - 1;
                    Error::Invalid(format!(
                        "the DSN's parameter `flake-node` is not a number from 0 to {most}"
                    ))
                })
            })
            .transpose()?;
        layout.lattice(node.unwrap_or(0))?;
        Ok(Self { dsn, layout, node })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parameters_are_taken() {
        for (dsn, rest, layout, node) in [
            ("", "", Layout::STANDARD, None),
            (
                "redis://h?flake=javascript&wait=1&flake-node=31",
                "redis://h?wait=1",
                Layout::JAVASCRIPT,
                Some(31),
            ),
            (
                "host=h flake-node=0 flake=41-12-10",
                "host=h",
                Layout::STANDARD,
                Some(0),
            ),
        ] {
            let dsn = Settings::of(dsn);
            let expected = Settings {
                dsn: rest.into(),
                layout,
                node,
            };
            assert_eq!(dsn, Ok(expected));
        }
        for bad in [
            "flake=no",
            "flake-node=x",
            "flake-node=1024",
            "flake=javascript&flake-node=32",
            "flake-node=-1",
        ] {
            let refused = Settings::of(&format!("redis://u:hunter2@h?{bad}"));
            assert!(
                matches!(&refused, Err(Error::Invalid(why)) if !why.contains("hunter2")),
                "{refused:?}"
            );
        }
    }
}
