//! Frames and how they travel between node processes: the frame layout, its metadata, the link
//! protocol with credits, publishers and subscribers, and the transports below them.
//!
//! Synchronous: threads, `poll` and non-blocking sockets. Knows links, groups and frames; never
//! knows systems, devices or the control plane.

pub mod broker;
pub mod clock;
pub mod frame;
pub mod histogram;
pub mod link;
pub mod meta;
pub mod publisher;
pub mod stats;
pub mod subscriber;
pub mod transport;
pub mod wake;

pub use edgeflow_spec::qos::LinkQos;
pub use frame::{Codec, Frame, Header, Kind, Limits};
pub use meta::{Detection, Hop, Meta, Track};
pub use publisher::{Buffer, GroupConfig, Publisher, PublisherConfig, SendError};
pub use subscriber::{ClockOffset, Held, InputConfig, Received, Subscriber, SubscriberConfig};
