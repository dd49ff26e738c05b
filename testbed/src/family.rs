//! The processes that a process has started.

/// The processes that descend from this one, found by their parents in `/proc`. None on systems without it.
///
/// Some servers, such as PostgreSQL, put each of their processes into a process group of its own, so a signal to
/// the group of the first one does not reach them.
pub(crate) fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, parent(id)?)))
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(ancestor) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, parent)| *parent == ancestor);
        found.extend(children.map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

/// Whether the process exists and has not ended.
pub(crate) fn is_alive(id: u32) -> bool {
    fields(id).is_some_and(|fields| !fields.starts_with(['Z', 'X']))
}

fn parent(id: u32) -> Option<u32> {
    fields(id)?.split_whitespace().nth(1)?.parse().ok()
}

/// The fields of proc_pid_stat(5) from the state on, which follows the name in parentheses.
fn fields(id: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::wait;
    use std::process::Command;
    use std::time::Duration;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    #[cfg(target_os = "linux")]
    fn a_kill_reaches_the_whole_family() {
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sh -c 'sleep 600 & wait' & wait"]);
        let mut process = Process::spawn(command).expect("started");
        let family = wait::until("they are started", LIMIT, || {
            let family = descendants(process.id());
            if family.len() == 2 {
                Ok(family)
            } else {
                Err("not yet")
            }
        })
        .expect("started");
        assert!(family.iter().copied().all(is_alive));
        process.kill();
        assert!(!family.iter().copied().any(is_alive));
    }
}
