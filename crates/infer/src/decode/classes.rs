//! Classifiers: one row with a number for each class, as probabilities or before softmax.

use super::{TensorView, best};

/// How far probabilities may be from adding up to one, for what half precision loses.
const ROUNDING: f32 = 0.02;

/// The values of `[1, classes]`, two classes or more. Further dimensions of 1 do not matter.
pub(super) fn values<'a>(tensors: &[TensorView<'a>]) -> Option<&'a [f32]> {
    let [tensor] = tensors else {
        return None;
    };
    let (first, rest) = tensor.shape.split_first()?;
    let classes = *rest.first()?;
    let flat = rest[1..].iter().all(|size| *size == 1);
    let fits = *first == 1 && flat && classes > 1 && tensor.data.len() == classes;
    fits.then_some(tensor.data)
}

/// The likeliest class and its probability. `None` when no value is a number.
pub(super) fn likeliest(values: &[f32]) -> Option<(usize, f32)> {
    let (class, highest) = best(values, f32::NEG_INFINITY)?;
    let sum: f32 = values.iter().sum();
    let shares = values.iter().all(|value| (0.0..=1.0).contains(value));
    if shares && (sum - 1.0).abs() <= ROUNDING {
        return Some((class, highest));
    }
    let weights = values.iter().map(|value| (value - highest).exp());
    let sum: f32 = weights.filter(|weight| weight.is_finite()).sum();
    Some((class, 1.0 / sum.max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tensor;
    use super::*;

    #[test]
    fn a_row_of_classes_is_told_from_other_outputs() {
        let fits = |shapes: &[&[usize]]| {
            let tensors: Vec<Tensor> = shapes.iter().map(|shape| Tensor::zeros(shape)).collect();
            let views: Vec<_> = tensors.iter().map(Tensor::view).collect();
            values(&views).map(<[f32]>::len)
        };
        assert_eq!(fits(&[&[1, 1000]]), Some(1000));
        assert_eq!(fits(&[&[1, 5, 1, 1]]), Some(5));
        for other in [&[1, 1][..], &[2, 4], &[4], &[], &[1, 84, 85]] {
            assert_eq!(fits(&[other]), None, "{other:?}");
        }
        assert_eq!(fits(&[&[1, 4], &[1, 4]]), None);
    }

    #[test]
    fn probabilities_stay_and_others_become_some() {
        assert_eq!(likeliest(&[0.1, 0.7, 0.2]), Some((1, 0.7)));
        let (class, score) = likeliest(&[1.0, 3.0, 2.0]).unwrap();
        assert_eq!(class, 1);
        // e^0 / (e^-2 + e^0 + e^-1)
        assert!((score - 0.665_24).abs() < 1e-4, "{score}");
        assert_eq!(likeliest(&[-1e30, 1e30]), Some((1, 1.0)));
        let (class, score) = likeliest(&[0.4, 0.4]).unwrap();
        assert_eq!((class, score), (0, 0.5));
    }

    #[test]
    fn what_is_no_number_is_no_class() {
        assert_eq!(likeliest(&[f32::NAN, f32::NAN]), None);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 2]), None);
        let (class, score) = likeliest(&[f32::NAN, 2.0, f32::NEG_INFINITY]).unwrap();
        assert_eq!((class, score), (1, 1.0));
        let (class, score) = likeliest(&[f32::INFINITY, 0.0]).unwrap();
        assert_eq!((class, score), (0, 1.0));
    }
}
