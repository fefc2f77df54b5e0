import { create } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";

import { CameraFormatSchema, CameraSchema, CameraSizeSchema } from "../src/gen/edgeflow/v1/device_pb";
import { bestOf, previewManifest, previewName, selectorOf, sizeText, snippetOf } from "../src/lib/cameras";

const size = (width: number, height: number, fps: number[]) => create(CameraSizeSchema, { width, height, maxWidth: width, maxHeight: height, fps });

describe("what a camera offers", () => {
  it("is told in sizes and rates", () => {
    expect(sizeText(size(640, 480, [15, 29.97]))).toBe("640x480@30/15");
    expect(sizeText(size(640, 480, []))).toBe("640x480");
    expect(sizeText(create(CameraSizeSchema, { width: 16, height: 16, maxWidth: 1920, maxHeight: 1080, fps: [1, 60], anyFps: true }))).toBe("16x16–1920x1080@1–60");
  });

  it("is short in the list", () => {
    const format = create(CameraFormatSchema, { format: "mjpeg", sizes: [size(640, 480, [60]), size(1920, 1080, [30, 15])] });
    expect(bestOf(format)).toBe("mjpeg 1920x1080@30");
    expect(bestOf(create(CameraFormatSchema, { format: "grey" }))).toBe("grey");
  });
});

describe("the camera in a manifest", () => {
  const front = create(CameraSchema, { path: "/dev/video0", name: "Front", serial: "0042" });
  const side = create(CameraSchema, { path: "/dev/video2", name: "Side" });
  const twin = create(CameraSchema, { path: "/dev/video4", name: "Side" });

  it("is named by what stays the same", () => {
    expect(selectorOf(front, [front, side])).toBe("0042");
    expect(selectorOf(side, [front, side])).toBe("Side");
    expect(selectorOf(side, [side, twin])).toBe("/dev/video2");
    expect(snippetOf(front, [front])).toBe('camera: {use: camera, with: {device: "0042"}}');
  });

  it("runs on its device only", () => {
    expect(previewManifest("pi-7", side)).toContain('selector: "edgeflow.dev/device=pi-7"');
    expect(previewName("a".repeat(62)).length).toBe(63);
  });
});
