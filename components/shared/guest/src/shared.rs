//! Values that the sequences of one instance share.

use engine_dsn::Dsn;
use std::cell::RefCell;
use std::rc::{Rc, Weak};

/// Values by DSN, such as connections. Sequences with the same DSN share one value, which lives
/// as long as any of them holds it.
///
/// Keep it in a `thread_local!`: a component has one thread.
pub struct Shared<T>(RefCell<Vec<(Dsn, Weak<RefCell<T>>)>>);

impl<T> Shared<T> {
    /// An empty collection.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// The value for this DSN; calls `make` unless another sequence holds one.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get<E>(
        &self,
        dsn: Dsn,
        make: impl FnOnce(&Dsn) -> Result<T, E>,
    ) -> Result<Rc<RefCell<T>>, E> {
        let mut all = self.0.borrow_mut();
        all.retain(|(_, value)| value.strong_count() > 0);
        if let Some(value) = all
            .iter()
            .find(|(other, _)| *other == dsn)
            .and_then(|(_, value)| value.upgrade())
        {
            return Ok(value);
        }
        let value = Rc::new(RefCell::new(make(&dsn)?));
        all.push((dsn, Rc::downgrade(&value)));
        Ok(value)
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dsn(text: &str) -> Dsn {
        text.parse().expect(text)
    }

    #[test]
    fn those_with_one_dsn_share_a_value_while_any_of_them_is_there() {
        let shared = Shared::new();
        let mut made = 0;
        let mut get = |text| {
            shared
                .get(dsn(text), |_| {
                    made += 1;
                    Ok::<_, ()>(made)
                })
                .expect("made")
        };
        let one = get("redis://a");
        let same = get("redis://a");
        let other = get("redis://a?timeout=1s");
        assert!(Rc::ptr_eq(&one, &same));
        assert_eq!((*one.borrow(), *other.borrow()), (1, 2));
        drop((one, same));
        assert_eq!(*get("redis://a").borrow(), 3);
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let shared = Shared::new();
        assert_eq!(shared.get(dsn("redis://a"), |_| Err(1)).err(), Some(1));
        let value = shared
            .get(dsn("redis://a"), |_| Ok::<_, ()>(2))
            .expect("made");
        assert_eq!(*value.borrow(), 2);
    }
}
