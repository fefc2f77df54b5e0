//! The catalog's entries of the nodes that run models: `detect` and `classify`.

use std::borrow::Cow;

use super::{Builtin, IN_FRAMES, OUT_DETECTIONS, Param, ParamDefault, ParamKind, Port};

const THREADS: Param = Param {
    name: "threads",
    kind: ParamKind::Integer { min: 0, max: 256 },
    required: false,
    default: ParamDefault::Integer(0),
    summary: "Threads for the model with a frame that is alone; 0 lets the node choose.",
};

const PARALLEL: Param = Param {
    name: "parallel",
    kind: ParamKind::Integer { min: 0, max: 16 },
    required: false,
    default: ParamDefault::Integer(0),
    summary: "Frames that are worked on at a time, with a thread each. More of them a second, \
              each taking longer, and more memory. 0: one for each core, up to 4.",
};

const PROVIDER: Param = Param {
    name: "provider",
    kind: ParamKind::Choice {
        options: Cow::Borrowed(&[
            Cow::Borrowed("auto"),
            Cow::Borrowed("rten"),
            Cow::Borrowed("cpu"),
            Cow::Borrowed("xnnpack"),
            Cow::Borrowed("cuda"),
            Cow::Borrowed("tensorrt"),
            Cow::Borrowed("openvino"),
        ]),
    },
    required: false,
    default: ParamDefault::Text("auto"),
    summary: "What the model runs on. `rten` is built in and runs on the CPU; the others are of \
              ONNX Runtime, whose library has to be on the device. `auto` takes the fastest \
              that is there and takes the model.",
};

pub(super) const DETECT: Builtin = Builtin {
    name: "detect",
    summary: "Finds objects or faces with an ONNX model.",
    inputs: &[IN_FRAMES],
    outputs: &[OUT_DETECTIONS],
    params: &[
        Param {
            name: "model",
            kind: ParamKind::Model,
            required: true,
            default: ParamDefault::None,
            summary: "`centerface` (faces), `yolox-nano` (80 kinds of objects), `picodet-layout` (parts \
                      of printed pages), or an ONNX file by \
                      name or path: YOLOX, YOLOv5 to 12, SSD, UltraFace, NanoDet-Plus, PicoDet, CenterFace.",
        },
        Param {
            name: "threshold",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.4),
            summary: "Lowest score that is reported.",
        },
        Param {
            name: "iou",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.45),
            summary: "Overlap above which two boxes are taken for the same object.",
        },
        THREADS,
        PARALLEL,
        PROVIDER,
        Param {
            name: "labels",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "Only these labels are reported; without it, all.",
        },
    ],
};

pub(super) const CLASSIFY: Builtin = Builtin {
    name: "classify",
    summary: "Tells with an ONNX model what a picture shows, or what each thing in it is that a node \
              before has found.",
    inputs: &[Port {
        name: "in",
        summary: "Pictures: JPEG, or raw pixels (nv12, yuyv, rgb8, grey8); with `of`, also with \
                  `tracks` or `detections` in their metadata.",
    }],
    outputs: &[Port {
        name: "out",
        summary: "The incoming frames, unchanged. With `of`, tracks or detections have the class as \
                  their label and its probability as their score; without it, the picture is one of the \
                  `detections`.",
    }],
    params: &[
        Param {
            name: "model",
            kind: ParamKind::Model,
            required: true,
            default: ParamDefault::None,
            summary: "`page-orientation` (which way up a page of text is), or an ONNX file by name or \
                      path with one output `[1, classes]`.",
        },
        Param {
            name: "of",
            kind: ParamKind::TextList,
            required: false,
            default: ParamDefault::None,
            summary: "Labels of the things that are looked at, each for itself; `*` for things of every \
                      label. Without it the whole picture is looked at.",
        },
        Param {
            name: "threshold",
            kind: ParamKind::Number { min: 0.0, max: 1.0 },
            required: false,
            default: ParamDefault::Number(0.5),
            summary: "Lowest probability of a class. What is less sure keeps its label, and a whole \
                      picture is not reported.",
        },
        Param {
            name: "most",
            kind: ParamKind::Integer { min: 1, max: 300 },
            required: false,
            default: ParamDefault::Integer(16),
            summary: "With `of`: things of a picture that are looked at, those with the highest scores; \
                      the others keep their labels.",
        },
        THREADS,
        PARALLEL,
        PROVIDER,
    ],
};
