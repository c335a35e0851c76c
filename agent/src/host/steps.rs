//! The moments between two changes that somebody else can see. Each change says its name before it is made; tests break off there, and the program goes on.

#[cfg(not(test))]
pub(crate) fn before(_what: &str) {}

#[cfg(test)]
pub(crate) use self::watched::{before, crash_at};

/// What tests do at these moments.
#[cfg(test)]
mod watched {
    use std::cell::RefCell;
    use std::panic::{self, AssertUnwindSafe};

    /// Called with each name.
    type Watcher = Box<dyn FnMut(&str)>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    pub(crate) fn before(what: &str) {
        // Taken out meanwhile: it may unwind.
        if let Some(mut watcher) = WATCHER.take() {
            watcher(what);
            WATCHER.replace(Some(watcher));
        }
    }

    /// Does `work` up to the moment `at`, from 0, and there `end`s it; `None`: it was ended. Nothing on the way cleans up as it unwinds, so that what is left is
    /// what a killed process leaves.
    pub(crate) fn crash_at<T>(at: usize, mut end: impl FnMut() + 'static, work: impl FnOnce() -> T) -> Option<T> {
        let mut left = at;
        WATCHER.replace(Some(Box::new(move |_| {
            let Some(fewer) = left.checked_sub(1) else {
                end();
                panic::resume_unwind(Box::new(Crash))
            };
            left = fewer;
        })));
        let ended = panic::catch_unwind(AssertUnwindSafe(work));
        WATCHER.take();
        match ended {
            Ok(done) => Some(done),
            Err(why) if why.is::<Crash>() => None,
            Err(why) => panic::resume_unwind(why),
        }
    }

    /// What unwinds.
    struct Crash;
}
