// The way of one frame as a waterfall: a row for each hop, on one time line.
import { useState, type ReactNode } from "react";

import { micros } from "../lib/format";
import { placeHops, type Hop, type Row } from "../lib/hops";
import { Panel } from "./parts";

const WORDS = { link: "on the link", wait: "waiting for the loop", loop: "in the loop" };

/** The newest sampled frame of a view; a click keeps the one that is shown. */
export function Waterfall({ node, hops, choice }: { node: string; hops: Hop[]; choice?: ReactNode }) {
  const [kept, setKept] = useState<Hop[] | null>(null);
  const shown = kept ?? hops;
  const way = placeHops(shown);
  const devices = new Set(way.rows.map((row) => row.device)).size;
  const keep = (
    <button type="button" className="button small" onClick={() => setKept(kept ? null : hops)} disabled={shown.length === 0}>
      {kept ? "Follow" : "Freeze"}
    </button>
  );
  return (
    <Panel title={<>One frame on its way to {node}</>} actions={<>{choice}{keep}</>}>
      {way.rows.length === 0 ? (
        <p className="muted">No sampled frame yet. One frame in a hundred tells of its way, unless the manifest says otherwise (`tracing: {"{sample: 1/10}"}`).</p>
      ) : (
        <div className="waterfall" data-hops={way.rows.length}>
          {way.rows.map((row, index) => (
            <WaterfallRow key={index} row={row} totalUs={way.totalUs} device={devices > 1} />
          ))}
          <div className="waterfall-row">
            <span className="muted">Total</span>
            <span className="muted">{micros(way.totalUs)}</span>
          </div>
        </div>
      )}
    </Panel>
  );
}

function WaterfallRow({ row, totalUs, device }: { row: Row; totalUs: number; device: boolean }) {
  const share = (us: number) => `${totalUs > 0 ? (100 * us) / totalUs : 0}%`;
  const loop = row.spans.find((span) => span.kind === "loop");
  return (
    <div className="waterfall-row">
      <span title={row.device}>
        <b>{row.label}</b> {device && <span className="muted">{row.device}</span>} {row.note && <span className="faint">{row.note}</span>}
      </span>
      <span className="waterfall-bar">
        {row.spans.map((span) => (
          <i
            key={span.kind}
            className={span.kind}
            style={{ left: share(span.from), width: `max(2px, ${share(span.to - span.from)})` }}
            title={`${micros(span.to - span.from)} ${WORDS[span.kind]}`}
          />
        ))}
      </span>
      <span className="num">{loop ? micros(loop.to - loop.from) : "–"}</span>
    </div>
  );
}
