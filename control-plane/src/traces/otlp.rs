//! From spans of EdgeFlow to those of OTLP. Names follow OpenTelemetry's semantic conventions where
//! there is one; the rest begins with `edgeflow.`.

use std::sync::Arc;

use edgeflow_proto::v1;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};

use super::{Origin, Waiting};

/// Spans of one instance that follow each other share its resource.
pub(super) fn request(waiting: Vec<Waiting>) -> ExportTraceServiceRequest {
    let mut groups: Vec<(Arc<Origin>, Vec<Span>)> = Vec::new();
    for (origin, waiting) in waiting {
        let same = |(other, _): &&mut (Arc<Origin>, Vec<Span>)| *other == origin;
        match groups.iter_mut().find(same) {
            Some((_, spans)) => spans.push(span(waiting)),
            None => groups.push((origin, vec![span(waiting)])),
        }
    }
    let resource_spans = groups.into_iter().map(|(origin, spans)| ResourceSpans {
        resource: Some(resource(&origin)),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope {
                name: "edgeflow".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    }
}

fn resource(origin: &Origin) -> Resource {
    Resource {
        attributes: vec![
            text("service.namespace", &origin.system),
            text("service.name", &origin.node),
            text(
                "service.instance.id",
                &format!("{}@{}", origin.instance, origin.device),
            ),
            text("host.name", &origin.device),
            number("edgeflow.replica", origin.replica.into()),
        ],
        ..Resource::default()
    }
}

fn span(span: v1::Span) -> Span {
    let is_first = span.parent_span_id == 0;
    let (name, kind) = if is_first {
        ("produce", SpanKind::Producer)
    } else {
        ("process", SpanKind::Consumer)
    };
    let id = |id: u64| id.to_be_bytes().to_vec();
    let mut events = Vec::new();
    if span.loop_unix_ns > span.start_unix_ns {
        events.push(Event {
            time_unix_nano: span.loop_unix_ns,
            name: "loop".to_owned(),
            ..Event::default()
        });
    }
    let status = (!span.error.is_empty()).then(|| Status {
        message: span.error.clone(),
        code: StatusCode::Error.into(),
    });
    Span {
        attributes: attributes(&span),
        parent_span_id: if is_first {
            Vec::new()
        } else {
            id(span.parent_span_id)
        },
        span_id: id(span.span_id),
        trace_id: span.trace_id,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.start_unix_ns,
        end_time_unix_nano: span.end_unix_ns,
        events,
        status,
        ..Span::default()
    }
}

fn attributes(span: &v1::Span) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("edgeflow.codec", &span.codec),
        number("edgeflow.payload.bytes", signed(span.payload_bytes)),
    ];
    if let Some(offset) = span.clock_offset_ns {
        attributes.push(number("edgeflow.clock.offset_ns", offset));
        attributes.push(number(
            "edgeflow.clock.error_us",
            span.clock_error_us.into(),
        ));
    }
    if !span.fused_with.is_empty() {
        let values = span.fused_with.iter().map(|it| AnyValue {
            value: Some(Value::StringValue(it.clone())),
        });
        let values = values.collect();
        attributes.push(attribute(
            "edgeflow.fused_with",
            Value::ArrayValue(ArrayValue { values }),
        ));
    }
    attributes
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
