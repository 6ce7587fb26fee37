//! Work that nobody waits for, on threads that give way to those who answer.

/// Lowers the priority of the calling thread, and so of those it starts, on Linux; elsewhere a priority is of the process
/// or does not rise again, so nothing is done. Five steps of niceness: where a core is wanted by such a thread and by
/// another one, it gets a quarter. That is enough to be done with a lock it holds.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    if let Err(why) = linux::lower() {
        tracing::debug!(why, "a thread keeps its priority");
    }
}

/// Lets another thread have the core, if one waits for it. A low priority does not do that by itself: who has a core keeps
/// it for some milliseconds, and often until the next tick of the scheduler.
pub fn give_way() {
    std::thread::yield_now();
}

#[cfg(target_os = "linux")]
mod linux {
    use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
    use thread_priority::{ThreadPriority, set_thread_priority_and_policy, thread_native_id};

    const STEPS: i32 = 5;
    const NICEST: i32 = 19;

    pub(super) fn lower() -> Result<(), String> {
        let before = niceness().ok_or("its niceness cannot be read")?;
        let priority = ThreadPriority::Crossplatform(scaled((before + STEPS).min(NICEST)).try_into()?);
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|error| format!("{error:?}"))
    }

    /// Niceness on the library's scale, where 0 is 19 and 99 is -20: in the middle of what it takes for the same.
    fn scaled(niceness: i32) -> u8 {
        u8::try_from(99 * (NICEST - niceness) / 39 - 1).unwrap_or(0)
    }

    /// Of the calling thread: the 19th field, the second is its name in parentheses.
    fn niceness() -> Option<i32> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(16)?.parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::{NICEST, STEPS, niceness};
        use crate::background::lower_priority;

        #[test]
        fn a_thread_and_those_it_starts_give_way_and_no_other_does() {
            let before = niceness().expect("niceness");
            let lowered = std::thread::spawn(|| {
                lower_priority();
                let child = std::thread::spawn(niceness).join().expect("child");
                let once = niceness();
                lower_priority();
                (once, child, niceness())
            });
            let after = |times: i32| Some((before + times * STEPS).min(NICEST));
            assert_eq!(lowered.join().expect("thread"), (after(1), after(1), after(2)));
            assert_eq!(niceness(), Some(before));
        }
    }
}
