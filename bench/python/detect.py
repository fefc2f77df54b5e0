"""YOLOX as its users run it: OpenCV decodes and scales, onnxruntime runs the model, numpy and OpenCV make boxes.

Arguments: MODEL JPEG THREADS RUNS WARM_UP. Prints one line of JSON: versions and, in milliseconds, the whole and
`session.run` alone of each run, and what the last run found.
"""

import json
import sys
import time

import cv2
import numpy as np
import onnxruntime as ort

SIDE, THRESHOLD, IOU = 416, 0.4, 0.45


def grids():
    cells, strides = [], []
    for stride in (8, 16, 32):
        n = SIDE // stride
        x, y = np.meshgrid(np.arange(n), np.arange(n))
        cells.append(np.stack((x, y), 2).reshape(-1, 2))
        strides.append(np.full((n * n, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def main():
    model, jpeg, threads, runs, warm_up = sys.argv[1:]
    cv2.setNumThreads(int(threads))
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    data = np.frombuffer(open(jpeg, "rb").read(), np.uint8)
    cells, strides = grids()
    whole, alone, boxes = [], [], []
    for index in range(int(runs) + int(warm_up)):
        start = time.perf_counter()
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        scale = min(SIDE / width, SIDE / height)
        size = (int(width * scale), int(height * scale))
        scaled = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        padded = np.full((SIDE, SIDE, 3), 114, np.uint8)
        padded[: size[1], : size[0]] = scaled
        planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
        before = time.perf_counter()
        rows = session.run(None, {name: planes})[0][0]
        after = time.perf_counter()
        scores = rows[:, 4:5] * rows[:, 5:]
        classes = scores.argmax(1)
        best = scores.max(1)
        kept = best > THRESHOLD
        center = (rows[kept, :2] + cells[kept]) * strides[kept]
        extent = np.exp(rows[kept, 2:4]) * strides[kept]
        corners = np.concatenate((center - extent / 2, extent), 1) / scale
        chosen = cv2.dnn.NMSBoxesBatched(corners.tolist(), best[kept].tolist(), classes[kept].tolist(), THRESHOLD, IOU)
        boxes = [(int(classes[kept][i]), round(float(best[kept][i]), 3)) for i in chosen]
        end = time.perf_counter()
        if index >= int(warm_up):
            whole.append((end - start) * 1000)
            alone.append((after - before) * 1000)
    print(json.dumps({"versions": f"onnxruntime {ort.__version__}, OpenCV {cv2.__version__}", "whole_ms": whole, "run_ms": alone, "boxes": boxes}))


main()
