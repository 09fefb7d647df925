//! Undo as a value: what has been done is taken back in reverse unless the whole succeeded.

use std::fmt;

/// Steps that take back what was done. Dropping it runs them, last first; [`disarm`](Self::disarm) forgets them.
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<Box<dyn FnOnce() + Send + 'a>>,
}

impl<'a> Undo<'a> {
    /// Nothing to take back yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers how to take back the step that was just done.
    pub fn push(&mut self, step: impl FnOnce() + Send + 'a) {
        self.steps.push(Box::new(step));
    }

    /// Everything succeeded: nothing is taken back.
    pub fn disarm(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some(step) = self.steps.pop() {
            step();
        }
    }
}

impl fmt::Debug for Undo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undo({} steps)", self.steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn steps_run_last_first_unless_disarmed() {
        let seen = Mutex::new(Vec::new());
        {
            let mut undo = Undo::new();
            undo.push(|| seen.lock().unwrap().push(1));
            undo.push(|| seen.lock().unwrap().push(2));
        }
        assert_eq!(*seen.lock().unwrap(), [2, 1]);
        let mut undo = Undo::new();
        undo.push(|| seen.lock().unwrap().push(3));
        undo.disarm();
        assert_eq!(*seen.lock().unwrap(), [2, 1]);
    }
}
