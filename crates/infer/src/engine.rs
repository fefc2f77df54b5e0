//! The model behind one or more detectors: a runtime over all threads that they share, and one for a
//! single thread that a detector has for itself. A picture alone is done soonest by all threads
//! together; several at a time are done soonest by one thread each. Where there can't be more
//! runtimes of a model, as on an accelerator, several go through the one as a batch.

mod batch;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::{Backend, BackendError, Spare, TensorView};
use batch::Batcher;

/// One detector's part of it.
#[derive(Debug)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    own: Own,
}

struct Shared {
    name: String,
    backend: Mutex<Box<dyn Backend>>,
    spare: Option<Spare>,
    /// The model takes several pictures at a time.
    batcher: Option<Batcher>,
    /// Detectors that have a picture.
    busy: AtomicUsize,
}

/// A detector's own runtime, made when it is first of use.
#[derive(Debug)]
enum Own {
    NotYet,
    Never,
    Made(Box<dyn Backend>),
}

/// A detector has a picture, until this is dropped.
pub(crate) struct Busy(Arc<Shared>);

impl Engine {
    /// `any_number`: the model's file says that it takes any number of pictures at a time.
    pub(crate) fn new(backend: Box<dyn Backend>, any_number: bool) -> Self {
        let spare = backend.spare();
        let shared = Shared {
            name: backend.name().to_owned(),
            batcher: (any_number && spare.is_none()).then(Batcher::default),
            spare,
            backend: Mutex::new(backend),
            busy: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            own: Own::NotYet,
        }
    }

    /// The part of another detector.
    pub(crate) fn fork(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            own: Own::NotYet,
        }
    }

    /// Runtime and provider.
    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    /// A picture's work begins.
    pub(crate) fn begin(&self) -> Busy {
        self.shared.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.shared))
    }

    /// [`Backend::run`] on whichever is the better one now.
    pub(crate) fn run(
        &mut self,
        shape: [usize; 4],
        input: &[f32],
        take: &mut dyn FnMut(&[TensorView<'_>]),
    ) -> Result<(), BackendError> {
        let crowded = self.shared.busy.load(Ordering::Relaxed) > 1;
        if crowded && let Some(own) = self.own()? {
            return own.run(shape, input, take);
        }
        match &self.shared.batcher {
            Some(batcher) => batcher.run(&self.shared.backend, shape, input, take),
            None => self.shared.backend().run(shape, input, take),
        }
    }

    /// The most pictures that went through the runtime together.
    pub(crate) fn largest_batch(&self) -> usize {
        self.shared
            .batcher
            .as_ref()
            .map_or(1, |it| it.largest().max(1))
    }

    /// Why pictures go through the runtime one by one although the model's file says otherwise.
    pub(crate) fn no_batches(&self) -> Option<&str> {
        self.shared.batcher.as_ref()?.given_up()
    }

    /// An error is told once; from then on the shared one has to do.
    fn own(&mut self) -> Result<Option<&mut Box<dyn Backend>>, BackendError> {
        if matches!(self.own, Own::NotYet) {
            self.own = Own::Never;
            if let Some(make) = &self.shared.spare {
                self.own = Own::Made(make()?);
            }
        }
        Ok(match &mut self.own {
            Own::Made(own) => Some(own),
            Own::NotYet | Own::Never => None,
        })
    }
}

impl Shared {
    fn backend(&self) -> MutexGuard<'_, Box<dyn Backend>> {
        self.backend
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which runtimes ran, by number; 0 is the shared one.
    type Ran = Arc<Mutex<Vec<usize>>>;

    #[derive(Debug)]
    struct Fake {
        number: usize,
        ran: Ran,
    }

    impl Backend for Fake {
        fn name(&self) -> &str {
            "fake"
        }

        fn run(
            &mut self,
            _: [usize; 4],
            _: &[f32],
            _: &mut dyn FnMut(&[TensorView<'_>]),
        ) -> Result<(), BackendError> {
            self.ran.lock().unwrap().push(self.number);
            Ok(())
        }

        fn spare(&self) -> Option<Spare> {
            let (ran, made) = (Arc::clone(&self.ran), AtomicUsize::new(0));
            Some(Arc::new(move || {
                let number = made.fetch_add(1, Ordering::Relaxed) + 1;
                if number == 3 {
                    return Err(BackendError::Inputs(0));
                }
                let ran = Arc::clone(&ran);
                Ok(Box::new(Fake { number, ran }))
            }))
        }
    }

    #[test]
    fn alone_it_is_the_shared_one_and_among_others_ones_own() {
        let ran = Ran::default();
        let take = |engine: &mut Engine| engine.run([1, 3, 1, 1], &[0.0; 3], &mut |_| {});
        let fake = Fake {
            number: 0,
            ran: Arc::clone(&ran),
        };
        let mut first = Engine::new(Box::new(fake), true);
        let mut second = first.fork();
        let alone = first.begin();
        take(&mut first).unwrap();
        let other = second.begin();
        take(&mut second).unwrap();
        take(&mut first).unwrap();
        take(&mut second).unwrap();
        drop(alone);
        take(&mut second).unwrap();
        assert_eq!(*ran.lock().unwrap(), [0, 1, 2, 1, 0]);
        // One that can't be made is told once, and the shared one does its work.
        let mut third = first.fork();
        let _busy = third.begin();
        assert!(take(&mut third).is_err());
        take(&mut third).unwrap();
        assert_eq!(ran.lock().unwrap().last(), Some(&0));
        drop(other);
    }
}
