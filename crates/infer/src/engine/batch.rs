//! Pictures of several detectors that go through one runtime together. Who comes first leads: it
//! waits for the runtime, takes along whoever came meanwhile, and hands out what was made. Knows
//! neither models nor pictures; a tensor's first dimension counts pictures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use crate::backend::{Backend, BackendError, TensorView, chain, show};

/// Pictures of a batch at most.
const MAX_BATCH: usize = 16;

/// Outputs of one picture: shapes that begin with 1, and values.
type Outputs = Vec<(Vec<usize>, Vec<f32>)>;

/// Where batches are made.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    open: Mutex<Option<Open>>,
    /// Why the model is given one picture at a time after all.
    given_up: OnceLock<String>,
    largest: AtomicUsize,
}

/// A batch that still takes pictures.
#[derive(Debug)]
struct Open {
    /// Of one picture: `[channels, height, width]`.
    shape: [usize; 3],
    input: Vec<f32>,
    count: usize,
    results: Arc<Results>,
}

/// What a picture is to its batch.
enum Place {
    Leads,
    Follows(Arc<Results>, usize),
    /// Of another shape, or one too many.
    Alone,
}

impl Batcher {
    /// [`Backend::run`] for one picture, alone or with others.
    pub(super) fn run(
        &self,
        backend: &Mutex<Box<dyn Backend>>,
        shape: [usize; 4],
        input: &[f32],
        take: &mut dyn FnMut(&[TensorView<'_>]),
    ) -> Result<(), BackendError> {
        // Nobody is before it: nothing is copied.
        if let Ok(mut backend) = backend.try_lock() {
            return backend.run(shape, input, take);
        }
        match self.join(shape, input) {
            Place::Alone => lock(backend).run(shape, input, take),
            Place::Follows(results, index) => {
                show(&results.wait(index)?, take);
                Ok(())
            }
            Place::Leads => {
                let mut backend = lock(backend);
                let Some(batch) = lock(&self.open).take() else {
                    return backend.run(shape, input, take);
                };
                if batch.count == 1 {
                    return backend.run(shape, input, take);
                }
                self.largest.fetch_max(batch.count, Ordering::Relaxed);
                let results = Arc::clone(&batch.results);
                let _told = TellEnd(&results);
                self.lead(backend.as_mut(), batch);
                drop(backend);
                show(&results.wait(0)?, take);
                Ok(())
            }
        }
    }

    /// The largest batch so far.
    pub(super) fn largest(&self) -> usize {
        self.largest.load(Ordering::Relaxed)
    }

    /// Why there are no batches any more, if there are none.
    pub(super) fn given_up(&self) -> Option<&str> {
        self.given_up.get().map(String::as_str)
    }

    fn join(&self, shape: [usize; 4], input: &[f32]) -> Place {
        let [pictures, channels, height, width] = shape;
        let shape = [channels, height, width];
        if pictures != 1 || self.given_up.get().is_some() {
            return Place::Alone;
        }
        let mut open = lock(&self.open);
        match &mut *open {
            None => {
                *open = Some(Open {
                    shape,
                    input: input.to_vec(),
                    count: 1,
                    results: Arc::default(),
                });
                Place::Leads
            }
            Some(batch) if batch.shape == shape && batch.count < MAX_BATCH => {
                batch.input.extend_from_slice(input);
                batch.count += 1;
                Place::Follows(Arc::clone(&batch.results), batch.count - 1)
            }
            Some(_) => Place::Alone,
        }
    }

    fn lead(&self, backend: &mut dyn Backend, batch: Open) {
        let Open {
            shape: [channels, height, width],
            input,
            count,
            results,
        } = batch;
        let mut made = None;
        let ran = backend.run([count, channels, height, width], &input, &mut |tensors| {
            made = split(tensors, count);
        });
        if let (Ok(()), Some(outputs)) = (&ran, made) {
            return results.put(outputs.into_iter().map(Ok).collect());
        }
        // It takes one picture at a time after all: here, and from now on.
        let why = match &ran {
            Err(error) => chain(error),
            Ok(()) => format!("its outputs are not those of {count} pictures"),
        };
        self.given_up.get_or_init(|| why);
        let pictures = input.chunks(channels * height * width);
        let one = |input| {
            let mut made = None;
            backend.run([1, channels, height, width], input, &mut |tensors| {
                made = split(tensors, 1);
            })?;
            let outputs = made.and_then(|mut made| made.pop());
            outputs.ok_or(BackendError::Output(0))
        };
        results.put(pictures.map(one).collect());
    }
}

/// The outputs of each picture; `None`: they do not have one part for each.
fn split(tensors: &[TensorView<'_>], count: usize) -> Option<Vec<Outputs>> {
    let mut all: Vec<Outputs> = vec![Vec::with_capacity(tensors.len()); count];
    for tensor in tensors {
        let (pictures, rest) = tensor.shape.split_first()?;
        let len = tensor.data.len().checked_div(count)?;
        if *pictures != count || len * count != tensor.data.len() || len == 0 {
            return None;
        }
        let shape: Vec<usize> = [1].iter().chain(rest).copied().collect();
        for (outputs, part) in all.iter_mut().zip(tensor.data.chunks(len)) {
            outputs.push((shape.clone(), part.to_vec()));
        }
    }
    Some(all)
}

/// What was made of a batch.
#[derive(Debug, Default)]
struct Results {
    made: Mutex<Made>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Made {
    ended: bool,
    outputs: Vec<Option<Result<Outputs, BackendError>>>,
}

impl Results {
    fn put(&self, outputs: Vec<Result<Outputs, BackendError>>) {
        lock(&self.made).outputs = outputs.into_iter().map(Some).collect();
        self.changed.notify_all();
    }

    fn end(&self) {
        lock(&self.made).ended = true;
        self.changed.notify_all();
    }

    fn wait(&self, index: usize) -> Result<Outputs, BackendError> {
        let mut made = lock(&self.made);
        loop {
            if let Some(outputs) = made.outputs.get_mut(index).and_then(Option::take) {
                return outputs;
            }
            if made.ended {
                return Err(BackendError::Abandoned);
            }
            made = self
                .changed
                .wait(made)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }
}

/// Whatever becomes of the leader, nobody waits for ever.
struct TellEnd<'a>(&'a Results);

impl Drop for TellEnd<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::backend::Spare;

    /// Adds 1 to every value of as many pictures as it takes at a time; beyond that it does what it
    /// was told.
    #[derive(Debug)]
    struct Plus {
        most: usize,
        beyond: Beyond,
        /// Waited for before each run.
        go: mpsc::Receiver<()>,
    }

    #[derive(Debug)]
    enum Beyond {
        Fails,
        ForgetsPictures,
        Panics,
    }

    impl Backend for Plus {
        fn name(&self) -> &str {
            "plus"
        }

        fn run(
            &mut self,
            shape: [usize; 4],
            input: &[f32],
            take: &mut dyn FnMut(&[TensorView<'_>]),
        ) -> Result<(), BackendError> {
            self.go.recv().unwrap();
            let mut shape = shape.to_vec();
            if shape[0] > self.most {
                match self.beyond {
                    Beyond::Fails => return Err(BackendError::Inputs(0)),
                    Beyond::ForgetsPictures => shape[0] = 1,
                    Beyond::Panics => panic!("a bug"),
                }
            }
            let data: Vec<f32> = input.iter().map(|value| value + 1.0).collect();
            let data = &data[..shape.iter().product()];
            take(&[TensorView {
                shape: &shape,
                data,
            }]);
            Ok(())
        }

        fn spare(&self) -> Option<Spare> {
            None
        }
    }

    type Made = Result<Vec<(Vec<usize>, Vec<f32>)>, String>;

    /// One picture that is alone, and four that come while it is worked on; the last of another size.
    fn five(most: usize, beyond: Beyond) -> (Vec<Option<Made>>, Batcher) {
        let (go, wait) = mpsc::channel();
        let plus: Box<dyn Backend> = Box::new(Plus {
            most,
            beyond,
            go: wait,
        });
        let (backend, batcher) = (Mutex::new(plus), Batcher::default());
        let run = |value: f32, side: usize| -> Made {
            let input = vec![value; 3 * side];
            let mut made = Vec::new();
            let ran = batcher.run(&backend, [1, 3, 1, side], &input, &mut |tensors| {
                let own = |tensor: &TensorView<'_>| (tensor.shape.to_vec(), tensor.data.to_vec());
                made = tensors.iter().map(own).collect();
            });
            ran.map(|()| made).map_err(|error| error.to_string())
        };
        let made = std::thread::scope(|scope| {
            let first = scope.spawn(|| run(0.0, 2));
            while backend.try_lock().is_ok() {
                std::thread::yield_now();
            }
            let joined = |count| {
                while lock(&batcher.open).as_ref().map_or(0, |open| open.count) < count {
                    std::thread::yield_now();
                }
            };
            let mut others = Vec::new();
            for number in 1..=3_u8 {
                let run = &run;
                others.push(scope.spawn(move || run(number.into(), 2)));
                joined(usize::from(number));
            }
            others.push(scope.spawn(|| run(4.0, 5)));
            for _ in 0..20 {
                go.send(()).unwrap();
            }
            let all = std::iter::once(first).chain(others);
            all.map(|thread| thread.join().ok()).collect()
        });
        (made, batcher)
    }

    fn expect_sums(made: &[Option<Made>]) {
        for (value, made) in (1_u8..).zip(made) {
            let side = if value == 5 { 5 } else { 2 };
            let expected = (vec![1, 3, 1, side], vec![f32::from(value); 3 * side]);
            assert_eq!(*made, Some(Ok(vec![expected])));
        }
    }

    #[test]
    fn who_comes_meanwhile_goes_together() {
        let (made, batcher) = five(16, Beyond::Fails);
        expect_sums(&made);
        assert_eq!(batcher.largest(), 3);
        assert_eq!(batcher.given_up(), None);
    }

    #[test]
    fn a_model_that_takes_one_at_a_time_after_all_is_given_one_at_a_time() {
        for beyond in [Beyond::Fails, Beyond::ForgetsPictures] {
            let (made, batcher) = five(1, beyond);
            expect_sums(&made);
            assert!(batcher.given_up().is_some());
            assert!(matches!(
                batcher.join([1, 3, 1, 2], &[0.0; 6]),
                Place::Alone
            ));
        }
    }

    #[test]
    fn nobody_waits_for_a_leader_that_is_gone() {
        let (made, _) = five(1, Beyond::Panics);
        assert_eq!(made[1], None, "the leader");
        let gone = BackendError::Abandoned.to_string();
        assert_eq!(made[2], Some(Err(gone.clone())));
        assert_eq!(made[3], Some(Err(gone)));
        assert!(matches!(made[4], Some(Ok(_))));
    }
}
