//! Frames at sources and nodes, sampled and not.

use edgeflow_stream::{Codec, Meta};

use super::*;

fn tracer(node: &str, source: bool, every: u32) -> Tracer {
    Tracer {
        every,
        me: Hop {
            node: node.to_owned(),
            boot: "boot".to_owned(),
            ..Hop::default()
        },
        source,
        ..Tracer::default()
    }
}

/// A frame whose capture time says nothing about time, so that only the share decides.
fn frame() -> Frame {
    let mut frame = Frame::new(Codec::Bytes, vec![1]);
    frame.header.capture_mono_ns = 0;
    frame
}

fn names(frame: &Frame) -> Vec<String> {
    let hops = frame.read_meta().unwrap().hops();
    hops.into_iter().map(|hop| hop.node).collect()
}

fn arrived(ns: u64) -> Arrived {
    Arrived { ns, clock: None }
}

/// Sends a frame of a source and gives it the trace that a publisher would.
fn source_frame(source: &mut Tracer, number: u8) -> Frame {
    let mut frame = frame();
    source.begin(Instant::now(), None);
    source.sending(0, &mut frame);
    frame.header.trace_id = [number; 16];
    frame
}

#[test]
fn one_in_so_many_frames_of_a_source_is_sampled_and_none_when_it_is_off() {
    let mut source = tracer("camera", true, 3);
    let sampled: Vec<bool> = (1..=7)
        .map(|number| source_frame(&mut source, number).is_sampled())
        .collect();
    assert_eq!(sampled, [true, false, false, true, false, false, true]);
    source.every = 0;
    assert!((1..50).all(|number| !source_frame(&mut source, number).is_sampled()));
}

#[test]
fn a_slow_source_is_sampled_by_time_and_a_fast_one_is_held_back() {
    let mut source = tracer("camera", true, 1000);
    let mut at = |ns: u64| {
        let mut frame = frame();
        frame.header.capture_mono_ns = ns;
        source.sending(0, &mut frame);
        frame.is_sampled()
    };
    let second = 1_000_000_000;
    assert!(at(100 * second));
    assert!(!at(109 * second));
    assert!(at(110 * second));
    let mut source = tracer("camera", true, 1);
    let mut taken = 0;
    for number in 0..100 {
        let mut frame = frame();
        frame.header.capture_mono_ns = second + number * 1_000_000;
        source.sending(0, &mut frame);
        taken += u32::from(frame.is_sampled());
    }
    assert_eq!(taken, 10, "100 frames in 100 ms");
}

#[test]
fn a_node_adds_its_hop_to_each_copy_even_when_the_loop_drops_the_metadata() {
    let mut source = tracer("camera", true, 1);
    let input = source_frame(&mut source, 1);
    let mut node = tracer("detect", false, 1);
    node.begin(Instant::now(), Some((&input, &arrived(77))));
    let mut kept = input.clone();
    let mut stripped = input.with_payload(Codec::Json, vec![2]);
    stripped.set_meta(&Meta::new());
    stripped.header.flags = 0;
    for copy in [&mut kept, &mut stripped] {
        node.sending(0, copy);
        assert_eq!(names(copy), ["camera", "detect"]);
        assert!(copy.is_sampled());
        let own = copy.read_meta().unwrap().hops().pop().unwrap();
        assert_eq!(own.in_ns, 77);
        assert!(own.start_ns > 0 && own.out_ns >= own.start_ns);
    }
}

#[test]
fn the_clock_of_the_hop_before_is_told_where_the_link_has_measured_it() {
    let mut source = tracer("camera", true, 1);
    let mut input = source_frame(&mut source, 1);
    let mut node = tracer("detect", false, 1);
    let clock = ClockOffset {
        utc_ns: 5,
        monotonic_ns: 1_000,
        error_ns: 1_001,
    };
    let came = Arrived {
        ns: 1,
        clock: Some(clock),
    };
    node.begin(Instant::now(), Some((&input.clone(), &came)));
    node.sending(0, &mut input);
    let own = input.read_meta().unwrap().hops().pop().unwrap();
    // The producer is ahead by 1000 ns, so this one is behind it.
    assert_eq!(
        (own.clock_offset_ns, own.clock_error_us),
        (Some(-1_000), Some(2))
    );
}

#[test]
fn a_frame_that_is_not_sampled_is_left_as_it_is() {
    let mut node = tracer("detect", false, 1);
    let mut input = frame();
    input.header.trace_id = [1; 16];
    node.begin(Instant::now(), Some((&input, &arrived(0))));
    node.sending(0, &mut input);
    assert!(input.meta.is_empty() && !input.is_sampled());
}

#[test]
fn a_recording_that_is_sent_again_begins_a_new_way_and_keeps_the_old_one() {
    let mut source = tracer("camera", true, 1);
    let recorded = source_frame(&mut source, 1);
    let mut replay = tracer("replay", true, 1000);
    let mut again = recorded.clone();
    replay.begin(Instant::now(), None);
    replay.sending(0, &mut again);
    assert_eq!(names(&again), ["replay"]);
    let keys: Vec<String> = again
        .read_meta()
        .unwrap()
        .keys()
        .map(str::to_owned)
        .collect();
    assert_eq!(keys, ["recorded_hops", "hops"]);
}

#[test]
fn hops_that_do_not_fit_never_fail_a_frame() {
    let mut node = tracer("n", false, 1);
    let mut input = frame();
    input.header.trace_id = [1; 16];
    let mut meta = Meta::new();
    let many = vec![Hop::default(); edgeflow_stream::meta::MAX_HOPS];
    assert!(meta.set_hops(&many).unwrap());
    input.set_meta(&meta);
    input.header.flags = FLAG_SAMPLED;
    node.begin(Instant::now(), Some((&input, &arrived(1))));
    let before = input.clone();
    node.sending(0, &mut input);
    assert_eq!(input, before);
    // Foreign metadata that is none.
    input.meta = vec![0xc1].into();
    node.sending(0, &mut input);
    assert_eq!(input.meta, vec![0xc1]);
    let mut full = Meta::new();
    full.set("big", &vec![7_u8; DEFAULT_MAX_META as usize])
        .unwrap();
    let mut large = frame();
    large.set_meta(&full);
    node.sending(0, &mut large);
    assert!(!large.is_sampled());
}

#[test]
fn the_spans_of_a_frame_name_the_stay_before_them() {
    let mut source = tracer("camera", true, 1);
    let mut node = tracer("detect", false, 1);
    let mut of_source = source.spans.subscribe();
    let mut of_node = node.spans.subscribe();
    let mut frame = frame();
    source.begin(Instant::now(), None);
    source.sending(0, &mut frame);
    assert!(of_source.try_recv().is_err(), "it has no trace yet");
    frame.header.trace_id = [9; 16];
    source.sent(|| [9; 16]);
    source.end(None);
    let first = of_source.try_recv().unwrap();
    assert_eq!(
        (first.trace_id.as_slice(), first.parent_span_id),
        (&[9; 16][..], 0)
    );
    assert!(first.span_id != 0 && of_source.try_recv().is_err());

    node.begin(Instant::now(), Some((&frame, &arrived(1))));
    for _ in 0..2 {
        node.sending(0, &mut frame.clone());
        node.sent(|| [0; 16]);
    }
    node.end(Some(&NodeError::new("no picture")));
    let second = of_node.try_recv().unwrap();
    assert_eq!(second.parent_span_id, first.span_id);
    assert_eq!(second.error, "no picture");
    assert!(
        second.start_unix_ns < second.loop_unix_ns && second.loop_unix_ns <= second.end_unix_ns
    );
    assert!(
        of_node.try_recv().is_err(),
        "one span a round, whatever is sent"
    );
}

#[test]
fn without_a_reader_no_span_is_made() {
    let mut source = tracer("camera", true, 1);
    let frame = source_frame(&mut source, 1);
    assert!(source.begun.is_none());
    let mut node = tracer("detect", false, 1);
    node.begin(Instant::now(), Some((&frame, &arrived(1))));
    node.end(None);
    assert!(node.spans.subscribe().try_recv().is_err());
}
