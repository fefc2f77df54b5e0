//! Where a box goes: the constant-velocity Kalman filter of SORT and its successors (Bewley et al.
//! 2016, Wojke et al. 2017) over centre, aspect ratio and height. Motion, noise and measurement treat
//! these four apart, so the 8x8 filter is four filters of two numbers each. Pure.

/// Standard deviation of a position, as a share of the height.
const POSITION: f32 = 1.0 / 20.0;
/// Standard deviation of a velocity, as a share of the height, in a time step.
const VELOCITY: f32 = 1.0 / 160.0;
/// The same of the aspect ratio: first state, step, its velocity, measurement.
const ASPECT: f32 = 1e-2;
const ASPECT_VELOCITY: f32 = 1e-5;
const ASPECT_MEASURED: f32 = 1e-1;
/// Smallest height and aspect that a prediction may come to.
const SMALLEST: f32 = 1e-3;

/// A box by its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) w: f32,
    pub(super) h: f32,
}

impl Rect {
    /// Overlap: intersection over union.
    pub(super) fn iou(&self, other: &Self) -> f32 {
        let overlap = |a: f32, a_len: f32, b: f32, b_len: f32| {
            ((a + a_len).min(b + b_len) - a.max(b)).max(0.0)
        };
        let width = overlap(self.x, self.w, other.x, other.w);
        let shared = width * overlap(self.y, self.h, other.y, other.h);
        let union = self.w * self.h + other.w * other.h - shared;
        if union > 0.0 { shared / union } else { 0.0 }
    }

    /// Centre x and y, aspect ratio (width by height), height.
    fn measured(&self) -> [f32; 4] {
        let h = self.h.max(SMALLEST);
        [self.x + self.w / 2.0, self.y + self.h / 2.0, self.w / h, h]
    }
}

/// A number, its change in a time step, and how sure both are.
#[derive(Clone, Copy, Debug)]
struct Axis {
    value: f32,
    velocity: f32,
    /// Variances and covariance.
    var_value: f32,
    var_velocity: f32,
    covar: f32,
}

impl Axis {
    fn new(value: f32, deviation: f32, velocity_deviation: f32) -> Self {
        Self {
            value,
            velocity: 0.0,
            var_value: deviation * deviation,
            var_velocity: velocity_deviation * velocity_deviation,
            covar: 0.0,
        }
    }

    fn predict(&mut self, steps: f32, deviation: f32, velocity_deviation: f32) {
        self.value += self.velocity * steps;
        self.var_value +=
            steps * (2.0 * self.covar + steps * self.var_velocity) + steps * deviation * deviation;
        self.covar += steps * self.var_velocity;
        self.var_velocity += steps * velocity_deviation * velocity_deviation;
    }

    fn update(&mut self, measured: f32, deviation: f32) {
        let innovation = self.var_value + deviation * deviation;
        let (gain, gain_velocity) = (self.var_value / innovation, self.covar / innovation);
        let surprise = measured - self.value;
        self.value += gain * surprise;
        self.velocity += gain_velocity * surprise;
        self.var_velocity -= gain_velocity * self.covar;
        self.covar -= gain * self.covar;
        self.var_value -= gain * self.var_value;
    }
}

/// The state of one box.
#[derive(Clone, Debug)]
pub(super) struct Kalman {
    axes: [Axis; 4],
}

impl Kalman {
    /// A box that was seen for the first time, and does not move as far as is known.
    pub(super) fn new(seen: &Rect) -> Self {
        let measured = seen.measured();
        let h = measured[3];
        let axis = |at: usize| {
            if at == 2 {
                Axis::new(measured[2], ASPECT, ASPECT_VELOCITY)
            } else {
                Axis::new(measured[at], 2.0 * POSITION * h, 10.0 * VELOCITY * h)
            }
        };
        Self {
            axes: [axis(0), axis(1), axis(2), axis(3)],
        }
    }

    /// Goes on by a number of time steps, and says where the box is then.
    pub(super) fn predict(&mut self, steps: f32) -> Rect {
        let h = self.axes[3].value;
        for (at, axis) in self.axes.iter_mut().enumerate() {
            let (deviation, velocity) = if at == 2 {
                (ASPECT, ASPECT_VELOCITY)
            } else {
                (POSITION * h, VELOCITY * h)
            };
            axis.predict(steps, deviation, velocity);
        }
        self.axes[2].value = self.axes[2].value.max(SMALLEST);
        self.axes[3].value = self.axes[3].value.max(SMALLEST);
        self.rect()
    }

    /// Takes in where the box was seen.
    pub(super) fn update(&mut self, seen: &Rect) {
        let measured = seen.measured();
        let h = self.axes[3].value;
        for (at, axis) in self.axes.iter_mut().enumerate() {
            let deviation = if at == 2 {
                ASPECT_MEASURED
            } else {
                POSITION * h
            };
            axis.update(measured[at], deviation);
        }
    }

    /// It was lost: its height no longer changes by itself, so that it does not grow out of sight.
    pub(super) fn hold_size(&mut self) {
        self.axes[3].velocity = 0.0;
    }

    pub(super) fn rect(&self) -> Rect {
        let [x, y, aspect, h] = self.axes.map(|axis| axis.value);
        let w = aspect * h;
        Rect {
            x: x - w / 2.0,
            y: y - h / 2.0,
            w,
            h,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32) -> Rect {
        Rect {
            x,
            y: 50.0,
            w: 40.0,
            h: 80.0,
        }
    }

    #[test]
    fn a_steady_motion_is_foreseen() {
        let mut kalman = Kalman::new(&at(0.0));
        for n in 1..20 {
            kalman.predict(1.0);
            kalman.update(&at(5.0 * n as f32));
        }
        let foreseen = kalman.predict(1.0);
        assert!((foreseen.x - 100.0).abs() < 2.0, "{foreseen:?}");
        let later = kalman.predict(4.0);
        assert!((later.x - 120.0).abs() < 4.0, "{later:?}");
        assert!(foreseen.iou(&at(100.0)) > 0.9);
    }

    #[test]
    fn a_box_that_stays_is_kept_and_one_that_shrinks_stays_positive() {
        let mut kalman = Kalman::new(&at(10.0));
        for _ in 0..10 {
            kalman.predict(1.0);
            kalman.update(&at(10.0));
        }
        assert!((kalman.rect().x - 10.0).abs() < 0.1);
        for n in 0..10 {
            kalman.predict(1.0);
            kalman.update(&Rect {
                h: 80.0 - 7.0 * n as f32,
                ..at(10.0)
            });
        }
        let gone = kalman.predict(100.0);
        assert!(gone.h > 0.0 && gone.w > 0.0, "{gone:?}");
    }

    #[test]
    fn overlap_is_between_nothing_and_all() {
        assert_eq!(at(0.0).iou(&at(0.0)), 1.0);
        assert_eq!(at(0.0).iou(&at(40.0)), 0.0);
        assert!((at(0.0).iou(&at(20.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(Rect::default().iou(&Rect::default()), 0.0);
    }
}
