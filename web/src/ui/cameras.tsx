// The cameras of a device: what they offer, a look at one of them, and the line for a manifest.
import { Fragment, useEffect, useRef, useState } from "react";

import type { Camera, Device } from "../gen/edgeflow/v1/device_pb";
import { ApplyOutcome } from "../gen/edgeflow/v1/control_pb";
import { api, isNotFound } from "../lib/api";
import { bestOf, previewManifest, previewName, sizeText, snippetOf } from "../lib/cameras";
import { CopyCommand, Empty, Failure, Panel, Tag } from "./parts";
import { Tile } from "./tile";

export function CamerasPanel({ device }: { device: Device }) {
  const cameras = device.facts?.cameras ?? [];
  const [open, setOpen] = useState("");
  const [shown, setShown] = useState<Camera | null>(null);
  return (
    <Panel title={`Cameras (${cameras.length})`} flush>
      {shown && <Preview key={shown.path} device={device.name} camera={shown} onClose={() => setShown(null)} />}
      {cameras.length === 0 && <Empty title="No camera found" />}
      {cameras.length > 0 && (
        <table>
          <thead>
            <tr>
              <th>Path</th>
              <th>Camera</th>
              <th>Formats</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {cameras.map((camera) => (
              <Fragment key={camera.path}>
                <Row
                  camera={camera}
                  online={device.online}
                  open={open === camera.path}
                  onOpen={() => setOpen(open === camera.path ? "" : camera.path)}
                  onPreview={() => setShown(camera)}
                />
                {open === camera.path && <Details camera={camera} all={cameras} />}
              </Fragment>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Row({ camera, online, open, onOpen, onPreview }: { camera: Camera; online: boolean; open: boolean; onOpen: () => void; onPreview: () => void }) {
  return (
    <tr data-camera={camera.path}>
      <td className="mono nowrap">{camera.path}</td>
      <td>
        {camera.name} <span className="muted">{[camera.driver, camera.bus].filter(Boolean).join(" · ")}</span>
        {camera.problem && (
          <div>
            <Tag tone="warn">{camera.problem}</Tag>
          </div>
        )}
      </td>
      <td className="muted">{camera.formats.map(bestOf).join(", ") || (camera.otherFormats.length > 0 ? `only ${camera.otherFormats.join(", ")}` : "–")}</td>
      <td className="nowrap">
        <button type="button" className="button small" aria-expanded={open} onClick={onOpen}>
          {open ? "Less" : "Details"}
        </button>{" "}
        <button type="button" className="button small" disabled={!online || camera.formats.length === 0} onClick={onPreview}>
          Preview
        </button>
      </td>
    </tr>
  );
}

function Details({ camera, all }: { camera: Camera; all: Camera[] }) {
  return (
    <tr>
      <td colSpan={4}>
        <div className="stack">
          <CopyCommand text={snippetOf(camera, all)} />
          <dl className="facts">
            {camera.formats.map((format) => (
              <Fragment key={format.format}>
                <dt className="mono">{format.format}</dt>
                <dd>{format.sizes.map(sizeText).join(", ")}</dd>
              </Fragment>
            ))}
            {camera.otherFormats.length > 0 && (
              <>
                <dt>Not read</dt>
                <dd className="muted">{camera.otherFormats.join(", ")}</dd>
              </>
            )}
            {camera.serial && (
              <>
                <dt>Serial</dt>
                <dd className="mono">{camera.serial}</dd>
              </>
            )}
          </dl>
          {camera.controls.length > 0 && <Controls camera={camera} />}
        </div>
      </td>
    </tr>
  );
}

function Controls({ camera }: { camera: Camera }) {
  return (
    <table aria-label={`Controls of ${camera.path}`}>
      <thead>
        <tr>
          <th>Control</th>
          <th className="num">From</th>
          <th className="num">To</th>
          <th className="num">Default</th>
        </tr>
      </thead>
      <tbody>
        {camera.controls.map((control) => (
          <tr key={control.name}>
            <td className="mono">{control.name}</td>
            {control.choices.length > 0 ? (
              <td colSpan={2}>{control.choices.map((choice) => `${choice.value} ${choice.word}`).join(", ")}</td>
            ) : (
              <>
                <td className="num">{String(control.min)}</td>
                <td className="num">{String(control.max)}</td>
              </>
            )}
            <td className="num">{String(control.default)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A system of its own that shows the camera until this is closed. */
function Preview({ device, camera, onClose }: { device: string; camera: Camera; onClose: () => void }) {
  const [error, setError] = useState<unknown>(null);
  const [ready, setReady] = useState(false);
  const name = previewName(device);
  const wanted = useRef(true);
  useEffect(() => {
    wanted.current = true;
    const start = async () => {
      try {
        const response = await api.applySystem({ manifest: previewManifest(device, camera), file: "preview" });
        if (response.outcome === ApplyOutcome.REJECTED) throw new Error(response.problems[0]?.message ?? "The preview was rejected.");
        setReady(true);
        if (!wanted.current) await remove(name);
      } catch (failure) {
        setError(failure);
      }
    };
    void start();
    const end = () => {
      wanted.current = false;
      void remove(name).catch(() => undefined);
    };
    // A page that goes away unmounts nothing.
    window.addEventListener("pagehide", end);
    return () => {
      window.removeEventListener("pagehide", end);
      end();
    };
  }, [device, camera, name]);
  return (
    <div className="body stack" aria-label={`Preview of ${camera.path}`}>
      {error !== null && <Failure error={error} what="The preview can't be shown." />}
      <div className="preview">{ready && <Tile source={{ system: name, node: "camera", device }} />}</div>
      <div className="row">
        <button type="button" className="button small" onClick={onClose}>
          Close preview
        </button>
        <span className="muted">
          It runs as the system <code>{name}</code> until it is closed. A camera that another system uses is shared: its pictures are as that system asks for them.
        </span>
      </div>
    </div>
  );
}

async function remove(name: string): Promise<void> {
  try {
    await api.deleteSystem({ name });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}
