//! Just enough of the ONNX file format to tell a model from other files, to read the shape of its
//! input, and to free that shape where a file was exported with a fixed one. Works on the protobuf
//! bytes; weights are copied as they are.

/// Field numbers of `ModelProto`, `GraphProto`, `ValueInfoProto`, `TypeProto`, `TensorTypeProto`,
/// `TensorShapeProto` and `Dimension`.
mod field {
    pub(super) const MODEL_GRAPH: u64 = 7;
    pub(super) const MODEL_METADATA: u64 = 14;
    pub(super) const ENTRY_KEY: u64 = 1;
    pub(super) const ENTRY_VALUE: u64 = 2;
    pub(super) const GRAPH_NODE: u64 = 1;
    pub(super) const GRAPH_INITIALIZER: u64 = 5;
    pub(super) const GRAPH_INPUT: u64 = 11;
    pub(super) const GRAPH_OUTPUT: u64 = 12;
    pub(super) const GRAPH_VALUE_INFO: u64 = 13;
    pub(super) const TENSOR_NAME: u64 = 8;
    pub(super) const VALUE_NAME: u64 = 1;
    pub(super) const VALUE_TYPE: u64 = 2;
    pub(super) const TYPE_TENSOR: u64 = 1;
    pub(super) const TENSOR_ELEMENT: u64 = 1;
    pub(super) const TENSOR_SHAPE: u64 = 2;
    pub(super) const SHAPE_DIM: u64 = 1;
    pub(super) const DIM_VALUE: u64 = 1;
    pub(super) const DIM_PARAM: u64 = 2;
}

/// The element type `FLOAT`.
const FLOAT: u64 = 1;
/// Inputs and outputs that are told.
pub const MAX_TENSORS: usize = 64;
/// Dimensions of an input that are accepted.
const MAX_DIMS: usize = 8;
/// Classes whose names are read.
const MAX_LABELS: usize = 10_000;

/// What goes into a model and what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Inputs that are not weights.
    pub inputs: Vec<TensorInfo>,
    /// Outputs.
    pub outputs: Vec<TensorInfo>,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions; `None`: any size.
    pub dims: Vec<Option<u64>>,
}

/// Why bytes are not a usable ONNX model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// Something else entirely, or damaged.
    #[error("not an ONNX model file (or a damaged one)")]
    NotOnnx,
    /// A model without an input.
    #[error("the ONNX model has no input")]
    NoInput,
}

/// Reads the inputs and outputs of a model, [`MAX_TENSORS`] of each at most.
pub fn signature(model: &[u8]) -> Result<Signature, OnnxError> {
    let graph = graph(model)?;
    let weights = weights(graph)?;
    let mut signature = Signature::default();
    for item in fields(graph) {
        let item = item?;
        let tensors = match item.number {
            field::GRAPH_INPUT => &mut signature.inputs,
            field::GRAPH_OUTPUT => &mut signature.outputs,
            _ => continue,
        };
        let info = value_info(item.bytes()?)?;
        if tensors.len() < MAX_TENSORS && !weights.contains(&info.name.as_str()) {
            tensors.push(info);
        }
    }
    if signature.inputs.is_empty() {
        return Err(OnnxError::NoInput);
    }
    Ok(signature)
}

/// Reads the first input that is not a weight.
pub fn input(model: &[u8]) -> Result<TensorInfo, OnnxError> {
    let inputs = signature(model)?.inputs;
    inputs.into_iter().next().ok_or(OnnxError::NoInput)
}

/// Names of the classes as programs of Ultralytics write them into a model: the metadata `names`, a
/// dictionary in Python's form, `{0: 'person', 1: 'car'}`. Empty when there are none.
pub fn labels(model: &[u8]) -> Vec<String> {
    metadata(model, "names")
        .and_then(|names| python_names(&names))
        .unwrap_or_default()
}

/// What a model's file says of itself under a key.
pub fn metadata(model: &[u8], key: &str) -> Option<String> {
    let value = |item: Result<Item<'_>, OnnxError>| {
        let item = item.ok().filter(|it| it.number == field::MODEL_METADATA)?;
        let entry = item.bytes().ok()?;
        let text = |number| std::str::from_utf8(child(entry, number).ok()??).ok();
        (text(field::ENTRY_KEY)? == key).then(|| text(field::ENTRY_VALUE).map(str::to_owned))?
    };
    fields(model).find_map(value)
}

/// `None`: not such a dictionary, or not with the numbers 0, 1, 2 and so on.
fn python_names(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    let mut names = Vec::new();
    while !rest.starts_with('}') {
        let (number, after) = rest.split_once(':')?;
        if number.trim().parse::<usize>().ok()? != names.len() || names.len() == MAX_LABELS {
            return None;
        }
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut name = String::new();
        let mut chars = after[1..].char_indices();
        let end = loop {
            match chars.next()? {
                (at, c) if c == quote => break at + 2,
                (_, '\\') => name.push(chars.next()?.1),
                (_, c) => name.push(c),
            }
        };
        names.push(name);
        rest = after[end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(names)
}

/// The same model with an input of `[any, 3, any, any]`. Recorded sizes of other values are left out,
/// since they no longer hold.
pub fn with_free_size(model: &[u8]) -> Result<Vec<u8>, OnnxError> {
    let name = input(model)?.name;
    let mut out = Vec::with_capacity(model.len() + 64);
    for item in fields(model) {
        let item = item?;
        if item.number == field::MODEL_GRAPH {
            put_bytes(
                &mut out,
                field::MODEL_GRAPH,
                &free_graph(item.bytes()?, &name)?,
            );
        } else {
            out.extend_from_slice(item.raw);
        }
    }
    Ok(out)
}

fn free_graph(graph: &[u8], input: &str) -> Result<Vec<u8>, OnnxError> {
    let mut out = Vec::with_capacity(graph.len() + 64);
    for item in fields(graph) {
        let item = item?;
        match item.number {
            field::GRAPH_VALUE_INFO => {}
            field::GRAPH_INPUT if value_info(item.bytes()?)?.name == input => {
                put_bytes(&mut out, field::GRAPH_INPUT, &picture_input(input));
            }
            field::GRAPH_OUTPUT => {
                let name = value_info(item.bytes()?)?.name;
                put_bytes(&mut out, field::GRAPH_OUTPUT, &value(&name, None));
            }
            _ => out.extend_from_slice(item.raw),
        }
    }
    Ok(out)
}

fn picture_input(name: &str) -> Vec<u8> {
    let mut shape = Vec::new();
    for size in ["pictures", "", "height", "width"] {
        let mut dim = Vec::new();
        if size.is_empty() {
            put_varint(&mut dim, field::DIM_VALUE << 3);
            put_varint(&mut dim, 3);
        } else {
            put_bytes(&mut dim, field::DIM_PARAM, size.as_bytes());
        }
        put_bytes(&mut shape, field::SHAPE_DIM, &dim);
    }
    value(name, Some(&shape))
}

/// A `ValueInfoProto` of a float tensor.
fn value(name: &str, shape: Option<&[u8]>) -> Vec<u8> {
    let mut tensor = Vec::new();
    put_varint(&mut tensor, field::TENSOR_ELEMENT << 3);
    put_varint(&mut tensor, FLOAT);
    if let Some(shape) = shape {
        put_bytes(&mut tensor, field::TENSOR_SHAPE, shape);
    }
    let mut kind = Vec::new();
    put_bytes(&mut kind, field::TYPE_TENSOR, &tensor);
    let mut out = Vec::new();
    put_bytes(&mut out, field::VALUE_NAME, name.as_bytes());
    put_bytes(&mut out, field::VALUE_TYPE, &kind);
    out
}

/// The graph of a model; a message without a graph that has nodes is not a model.
fn graph(model: &[u8]) -> Result<&[u8], OnnxError> {
    let mut found = None;
    for item in fields(model) {
        let item = item?;
        if item.number == field::MODEL_GRAPH {
            found = Some(item.bytes()?);
        }
    }
    let graph = found.ok_or(OnnxError::NotOnnx)?;
    for item in fields(graph) {
        if item?.number == field::GRAPH_NODE {
            return Ok(graph);
        }
    }
    Err(OnnxError::NotOnnx)
}

fn weights(graph: &[u8]) -> Result<Vec<&str>, OnnxError> {
    let mut names = Vec::new();
    for item in fields(graph) {
        let item = item?;
        if item.number == field::GRAPH_INITIALIZER {
            for part in fields(item.bytes()?) {
                let part = part?;
                if part.number == field::TENSOR_NAME {
                    names.push(part.text()?);
                }
            }
        }
    }
    Ok(names)
}

fn value_info(bytes: &[u8]) -> Result<TensorInfo, OnnxError> {
    let mut info = TensorInfo {
        name: String::new(),
        dims: Vec::new(),
    };
    for item in fields(bytes) {
        let item = item?;
        match item.number {
            field::VALUE_NAME => item.text()?.clone_into(&mut info.name),
            field::VALUE_TYPE => info.dims = dims(item.bytes()?)?,
            _ => {}
        }
    }
    Ok(info)
}

fn dims(kind: &[u8]) -> Result<Vec<Option<u64>>, OnnxError> {
    let mut dims = Vec::new();
    let Some(tensor) = child(kind, field::TYPE_TENSOR)? else {
        return Ok(dims);
    };
    let Some(shape) = child(tensor, field::TENSOR_SHAPE)? else {
        return Ok(dims);
    };
    for dim in fields(shape) {
        let dim = dim?;
        if dims.len() == MAX_DIMS {
            return Err(OnnxError::NotOnnx);
        }
        let mut size = None;
        for part in fields(dim.bytes()?) {
            let part = part?;
            if part.number == field::DIM_VALUE {
                size = Some(part.varint);
            }
        }
        dims.push(size);
    }
    Ok(dims)
}

fn child(message: &[u8], number: u64) -> Result<Option<&[u8]>, OnnxError> {
    for item in fields(message) {
        let item = item?;
        if item.number == number {
            return item.bytes().map(Some);
        }
    }
    Ok(None)
}

/// One field of a message.
struct Item<'a> {
    number: u64,
    /// Tag and content, to copy.
    raw: &'a [u8],
    /// Content of a length-delimited field.
    content: Option<&'a [u8]>,
    /// Value of a varint field.
    varint: u64,
}

impl<'a> Item<'a> {
    fn bytes(&self) -> Result<&'a [u8], OnnxError> {
        self.content.ok_or(OnnxError::NotOnnx)
    }

    fn text(&self) -> Result<&'a str, OnnxError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| OnnxError::NotOnnx)
    }
}

/// The fields of a message; ends after the first error.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<Item<'_>, OnnxError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let item = take_field(&mut rest).ok_or(OnnxError::NotOnnx);
        if item.is_err() {
            rest = &[];
        }
        Some(item)
    })
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<Item<'a>> {
    let whole = *rest;
    let tag = take_varint(rest)?;
    let (mut content, mut varint) = (None, 0);
    match tag & 7 {
        0 => varint = take_varint(rest)?,
        1 => drop(take(rest, 8)?),
        2 => {
            let len = usize::try_from(take_varint(rest)?).ok()?;
            content = Some(take(rest, len)?);
        }
        5 => drop(take(rest, 4)?),
        _ => return None,
    }
    let number = tag >> 3;
    (number != 0).then_some(Item {
        number,
        raw: &whole[..whole.len() - rest.len()],
        content,
        varint,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A model with one node, a weight listed as an input, and a fixed picture input.
    fn model() -> Vec<u8> {
        let mut shape = Vec::new();
        for size in [10, 3, 32, 32] {
            let mut dim = Vec::new();
            put_varint(&mut dim, field::DIM_VALUE << 3);
            put_varint(&mut dim, size);
            put_bytes(&mut shape, field::SHAPE_DIM, &dim);
        }
        let mut weight = Vec::new();
        put_bytes(&mut weight, field::TENSOR_NAME, b"w");
        let mut graph = Vec::new();
        put_bytes(&mut graph, field::GRAPH_NODE, b"");
        put_bytes(&mut graph, field::GRAPH_INITIALIZER, &weight);
        put_bytes(&mut graph, field::GRAPH_INPUT, &value("w", None));
        put_bytes(&mut graph, field::GRAPH_INPUT, &value("data", Some(&shape)));
        put_bytes(&mut graph, field::GRAPH_OUTPUT, &value("out", Some(&shape)));
        put_bytes(
            &mut graph,
            field::GRAPH_VALUE_INFO,
            &value("mid", Some(&shape)),
        );
        let mut model = Vec::new();
        put_varint(&mut model, 1 << 3);
        put_varint(&mut model, 4);
        put_bytes(&mut model, field::MODEL_GRAPH, &graph);
        model
    }

    #[test]
    fn a_fixed_input_becomes_free() {
        let model = model();
        let before = input(&model).unwrap();
        assert_eq!(before.name, "data");
        assert_eq!(before.dims, [Some(10), Some(3), Some(32), Some(32)]);
        let freed = with_free_size(&model).unwrap();
        let outputs = signature(&freed).unwrap().outputs;
        assert_eq!((outputs.len(), outputs[0].name.as_str()), (1, "out"));
        let after = input(&freed).unwrap();
        assert_eq!(after.name, "data");
        assert_eq!(after.dims, [None, Some(3), None, None]);
        assert_eq!(with_free_size(&freed).unwrap(), freed);
    }

    #[test]
    fn names_of_classes_are_read_from_the_metadata() {
        let mut entry = Vec::new();
        put_bytes(&mut entry, field::ENTRY_KEY, b"names");
        let text = "{0: 'hard hat', 1: \"driver's seat\", 2: 'it\\'s'}";
        put_bytes(&mut entry, field::ENTRY_VALUE, text.as_bytes());
        let mut model = model();
        assert!(labels(&model).is_empty());
        put_bytes(&mut model, field::MODEL_METADATA, &entry);
        assert_eq!(labels(&model), ["hard hat", "driver's seat", "it's"]);
        for bad in [
            "",
            "{",
            "{0: person}",
            "{1: 'a'}",
            "{0: 'a",
            "['a']",
            "{0: 'a' 0: 'b'}",
        ] {
            assert_eq!(python_names(bad), None, "{bad}");
        }
        assert_eq!(python_names("{}"), Some(Vec::new()));
    }

    #[test]
    fn other_files_are_told_from_models() {
        let others: [&[u8]; 4] = [b"", b"hello, world", b"\x89PNG\r\n\x1a\n", &[0xff; 100]];
        for other in others {
            assert_eq!(input(other), Err(OnnxError::NotOnnx), "{other:?}");
        }
        let model = model();
        assert_eq!(input(&model[..model.len() - 1]), Err(OnnxError::NotOnnx));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = with_free_size(&bytes);
        }

        #[test]
        fn a_damaged_model_is_read_or_refused(at in 0_usize..120, byte in any::<u8>()) {
            let mut model = model();
            let at = at % model.len();
            model[at] = byte;
            let _ = with_free_size(&model);
        }
    }
}
