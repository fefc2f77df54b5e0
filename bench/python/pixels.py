"""The pixel path in OpenCV: JPEG to pixels, half the size, pixels to JPEG.

Arguments: JPEG THREADS RUNS WARM_UP QUALITY. Prints one line of JSON: the version and, in milliseconds, each step of each
run.
"""

import json
import sys
import time

import cv2
import numpy as np


def main():
    jpeg, threads, runs, warm_up, quality = sys.argv[1:]
    cv2.setNumThreads(int(threads))
    data = np.frombuffer(open(jpeg, "rb").read(), np.uint8)
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    steps = {"decode_ms": [], "resize_ms": [], "encode_ms": []}
    size = 0
    for index in range(int(runs) + int(warm_up)):
        times = [time.perf_counter()]
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        times.append(time.perf_counter())
        height, width = picture.shape[:2]
        cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
        times.append(time.perf_counter())
        _, encoded = cv2.imencode(".jpg", picture, settings)
        times.append(time.perf_counter())
        size = len(encoded)
        if index >= int(warm_up):
            for name, before, after in zip(steps, times, times[1:]):
                steps[name].append((after - before) * 1000)
    print(json.dumps({"version": f"OpenCV {cv2.__version__}", "encoded_bytes": size, **steps}))


main()
