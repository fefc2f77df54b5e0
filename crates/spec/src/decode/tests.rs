//! The fields that the decoder knows and those of the JSON Schema are the same.

use super::{DEVICES, LINK, METADATA, NODE, SPEC, TOP};

#[test]
fn the_schema_has_exactly_the_fields_that_the_decoder_reads() {
    let schema = crate::schema::schema();
    for (shape, pointer) in [
        (&TOP, "/properties"),
        (&METADATA, "/$defs/MetadataText/properties"),
        (&SPEC, "/$defs/SpecText/properties"),
        (&DEVICES, "/$defs/DevicesText/properties"),
        (&NODE, "/$defs/NodeText/properties"),
        (&LINK, "/$defs/LinkFields/properties"),
    ] {
        let properties = schema
            .pointer(pointer)
            .and_then(|p| p.as_object())
            .expect(pointer);
        let mut described: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut known = shape.known.to_vec();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(described, known, "{pointer}");
    }
}
