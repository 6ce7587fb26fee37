//! Work that nobody waits for, on threads that give way to those who answer; and what one request waits for and no other should.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// From so many bytes on others do not wait: at up to 230 ns a byte, as capture takes, these are some milliseconds.
const LONG_BYTES: usize = 16 << 10;

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

/// Does what takes milliseconds, and is waited for anyway: what else waits for this thread gets another. Not in the simulation, which
/// has one, so that what comes next is the same in each run.
pub fn beside_others<T>(f: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|it| it.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(f),
        _ => f(),
    }
}

/// The same for work on so many bytes, which with few of them is done before another thread is there.
pub fn beside_others_if_long<T>(bytes: usize, f: impl FnOnce() -> T) -> T {
    if bytes > LONG_BYTES { beside_others(f) } else { f() }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::{LONG_BYTES, beside_others_if_long};

    /// On a runtime with one thread for tasks: what takes long ends only once another task has run.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_do_not_wait_for_what_takes_long() {
        let (sender, receiver) = mpsc::sync_channel(1);
        let long = tokio::spawn(async move {
            let other = tokio::spawn(async move { sender.send(7) });
            let heard = beside_others_if_long(LONG_BYTES + 1, || receiver.recv_timeout(Duration::from_secs(60)));
            (heard, other.await.expect("the other"))
        });
        assert_eq!(long.await.expect("a task"), (Ok(7), Ok(())));
    }

    #[tokio::test]
    async fn where_there_is_one_thread_all_wait() {
        assert_eq!([0, LONG_BYTES + 1].map(|bytes| beside_others_if_long(bytes, || bytes)), [0, LONG_BYTES + 1]);
    }
}
