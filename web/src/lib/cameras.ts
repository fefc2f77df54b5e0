// What a device's cameras offer, in words, and the manifest that shows one of them. Pure.
import type { Camera, CameraFormat, CameraSize } from "../gen/edgeflow/v1/device_pb";

/** `1280x720@30`, `16x16–1920x1080@1–60`. */
export function sizeText(size: CameraSize): string {
  const largest = `${size.maxWidth}x${size.maxHeight}`;
  const text = size.width === size.maxWidth && size.height === size.maxHeight ? largest : `${size.width}x${size.height}–${largest}`;
  if (size.fps.length === 0) return text;
  const rates = [...size.fps].sort((a, b) => b - a).map(rateText);
  return size.anyFps ? `${text}@${rates[rates.length - 1]}–${rates[0]}` : `${text}@${rates.join("/")}`;
}

function rateText(fps: number): string {
  return String(Math.round(fps * 10) / 10);
}

/** The largest size of a format with its best rate. */
export function bestOf(format: CameraFormat): string {
  const largest = [...format.sizes].sort((a, b) => b.maxWidth * b.maxHeight - a.maxWidth * a.maxHeight)[0];
  if (!largest) return format.format;
  const fastest = Math.max(0, ...largest.fps);
  return `${format.format} ${largest.maxWidth}x${largest.maxHeight}${fastest > 0 ? `@${rateText(fastest)}` : ""}`;
}

/** What names the camera best: its serial number, its name if no other has it, else its path. */
export function selectorOf(camera: Camera, all: Camera[]): string {
  if (camera.serial) return camera.serial;
  const alike = all.filter((other) => other.name.toLowerCase().includes(camera.name.toLowerCase()));
  return camera.name && alike.length === 1 ? camera.name : camera.path;
}

/** A text in YAML, with quotes: names may be like numbers. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

/** The node for a manifest of one's own. */
export function snippetOf(camera: Camera, all: Camera[]): string {
  return `camera: {use: camera, with: {device: ${quoted(selectorOf(camera, all))}}}`;
}

/** Name of the system that shows a camera of a device for a moment. */
export function previewName(device: string): string {
  return `preview-${device}`.slice(0, 63).replace(/-+$/, "");
}

export function previewManifest(device: string, camera: Camera): string {
  return `apiVersion: edgeflow.dev/v1
kind: System
metadata:
  name: ${previewName(device)}
  labels: {preview: "true"}
spec:
  devices: {selector: "edgeflow.dev/device=${device}"}
  nodes:
    camera: {use: camera, with: {device: ${quoted(camera.path)}, fps: 10}}
  views: [camera]
`;
}
