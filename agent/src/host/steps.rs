//! The moments between two changes that somebody else can see. Each change says its name before it is made; tests break off there, and the program goes on.

#[cfg(not(test))]
pub(crate) fn before(_what: &str) {}

#[cfg(test)]
pub(crate) use self::watched::{before, crash_at, crash_points};

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

    /// All moments of `work`, which is done to its end.
    pub(crate) fn crash_points<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
        let seen = std::rc::Rc::new(RefCell::new(Vec::new()));
        let noted = std::rc::Rc::clone(&seen);
        WATCHER.replace(Some(Box::new(move |what| noted.borrow_mut().push(what.to_owned()))));
        let done = work();
        WATCHER.take();
        let seen = seen.take();
        (done, seen)
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
