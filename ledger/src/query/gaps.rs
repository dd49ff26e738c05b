//! Which integers were never handed out.

use super::view::View;
use super::{Gap, Gaps, MAX_NOTES, MAX_READ};
use crate::Error;

impl View<'_> {
    pub(super) fn gaps(&self, name: &str, from: i64, to: i64, most: usize) -> Result<Gaps, Error> {
        let record = self.record(name)?;
        // Nobody knows whether what is not found up to there was handed out.
        let from = from.max(record.forgotten.saturating_add(1));
        let classes: Vec<_> = record.lattices.iter().filter(|c| c.greatest > 0).collect();
        let mut found = Gaps::default();
        // Every lattice is read up to the same bound; what lies beyond belongs to the next page.
        let mut bound = to;
        let each = (MAX_READ / classes.len().max(1)).max(2);
        for class in &classes {
            let (step, residue) = (class.step, class.residue);
            let mut before = self.below(name, step, residue, from)?.map(|e| e.last);
            for (read, entry) in self.entries(name, step, residue, from).enumerate() {
                let entry = entry?;
                if let Some(before) = before
                    && let Some(gap) = between(before, entry.first, step)
                    && let Some(gap) = within(gap, from, to)
                {
                    self.outside(name, gap, &classes, &mut found.gaps)?;
                }
                before = Some(entry.last);
                if entry.last >= bound {
                    break;
                }
                if read + 1 >= each || found.gaps.len() > 2 * most + MAX_NOTES {
                    bound = bound.min(entry.last);
                    break;
                }
            }
        }
        found.gaps.retain(|gap| gap.first <= bound);
        for gap in &mut found.gaps {
            // A gap that reaches beyond the bound goes on on the next page.
            *gap = within(*gap, from, bound).unwrap_or(*gap);
        }
        found.gaps.sort_unstable_by_key(|gap| (gap.first, gap.step));
        let greatest = record.greatest();
        found.next = (bound < to && bound < greatest).then(|| bound + 1);
        if found.gaps.len() > most {
            found.next = found.gaps.get(most).map(|gap| gap.first);
            found.gaps.truncate(most);
            // What overlaps the next page is cut there.
            if let Some(next) = found.next {
                found.gaps.retain(|gap| gap.first < next);
                for gap in &mut found.gaps {
                    *gap = within(*gap, from, next - 1).unwrap_or(*gap);
                }
            }
        }
        for gap in &mut found.gaps {
            let Gap { first, last, .. } = *gap;
            gap.why = if gap.why.is_some() {
                gap.why
            } else if let Some(number) = self.lost(name, first, last)? {
                Some((number, "lost"))
            } else {
                let raised = self.raised(name, first, last)?;
                raised.map(|number| (number, "raise"))
            };
        }
        Ok(found)
    }

    /// Adds the parts of a gap that are outside of all spans with other increments.
    fn outside(
        &self,
        name: &str,
        gap: Gap,
        classes: &[&crate::store::Class],
        gaps: &mut Vec<Gap>,
    ) -> Result<(), Error> {
        let mut spans = Vec::new();
        for class in classes.iter().filter(|class| class.step != gap.step) {
            for entry in self
                .entries(name, class.step, class.residue, gap.first)
                .take(MAX_NOTES)
            {
                let entry = entry?;
                if entry.first > gap.last {
                    break;
                }
                spans.push((entry.first, entry.last));
            }
        }
        spans.sort_unstable();
        let mut rest = Some(gap);
        for (first, last) in spans {
            let Some(gap) = rest else { break };
            if let Some(piece) = within(gap, gap.first, first - 1) {
                self.explained(name, piece, gaps)?;
            }
            rest = last
                .checked_add(1)
                .and_then(|next| within(gap, next, gap.last));
        }
        match rest {
            Some(rest) => self.explained(name, rest, gaps),
            None => Ok(()),
        }
    }

    /// Adds the parts of a gap: those that an event calls unused, each with that event, and the others.
    fn explained(&self, name: &str, gap: Gap, gaps: &mut Vec<Gap>) -> Result<(), Error> {
        let mut rest = Some(gap);
        for unused in self.unused(name, gap.first) {
            let unused = unused?;
            let Some(gap) = rest else { break };
            if unused.first > gap.last {
                break;
            }
            if unused.step != gap.step || (unused.first - gap.first) % gap.step != 0 {
                continue;
            }
            gaps.extend(within(gap, gap.first, unused.first - 1));
            let of = within(gap, unused.first, unused.last);
            gaps.extend(of.map(|of| Gap {
                why: Some((unused.number, "unused")),
                ..of
            }));
            rest = unused
                .last
                .checked_add(1)
                .and_then(|next| within(gap, next, gap.last));
        }
        gaps.extend(rest);
        Ok(())
    }
}

/// What is missing between two integers of a lattice.
fn between(before: i64, after: i64, step: i64) -> Option<Gap> {
    let first = before.checked_add(step)?;
    (first < after).then(|| Gap {
        first,
        last: after - step,
        step,
        why: None,
    })
}

/// The integers of a gap from `from` to `to`.
fn within(gap: Gap, from: i64, to: i64) -> Option<Gap> {
    let beyond = from.saturating_sub(gap.first).max(0);
    let steps = beyond / gap.step + i64::from(beyond % gap.step != 0);
    let first = steps
        .checked_mul(gap.step)
        .and_then(|more| gap.first.checked_add(more))?;
    let last = gap.last.min(to);
    if first > last {
        return None;
    }
    let last = first + (last - first) / gap.step * gap.step;
    Some(Gap { first, last, ..gap })
}
