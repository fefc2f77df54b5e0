// The pipeline as a graph with live figures on nodes and edges.
import "@xyflow/react/dist/base.css";

import { BaseEdge, Controls, EdgeLabelRenderer, getBezierPath, Handle, Position, ReactFlow, type Edge, type EdgeProps, type Node, type NodeProps } from "@xyflow/react";
import { useEffect, useMemo, useState } from "react";

import { InstancePhase, type InstanceStatus } from "../gen/edgeflow/v1/status_pb";
import type { LinkInfo, NodeInfo, System } from "../gen/edgeflow/v1/system_pb";
import { dropPercent, fps, micros } from "../lib/format";
import { layout } from "../lib/layout";
import { instancePhase, linkFigures, worstTone, type LinkFigures } from "../lib/model";
import { RecentDrops, type Share } from "../lib/recent";
import { theme } from "../lib/theme";
import { useStore } from "../lib/store";

export type Picked = { kind: "node" | "link"; id: string } | null;

type NodeData = { node: NodeInfo; instances: InstanceStatus[]; picked: boolean; vertical: boolean; spread: boolean };
type EdgeData = { link: LinkInfo; figures: LinkFigures; recent: Share; picked: boolean; onPick: (picked: Picked) => void; vertical: boolean };

const WIDTH = 190;
const HEIGHT = 64;
const NARROW = 560;

function NodeCard({ data }: NodeProps<Node<NodeData>>) {
  const { node, instances, picked, vertical, spread } = data;
  const devices = [...new Set(instances.map((instance) => instance.deviceName))];
  const tone = instances.length === 0 ? "off" : worstTone(instances.map((instance) => instancePhase(instance.phase).tone));
  const ready = instances.filter((instance) => instance.phase === InstancePhase.READY);
  const rate = ready.reduce((sum, instance) => sum + (instance.stats?.fps ?? 0), 0);
  const worst = instances.find((instance) => instancePhase(instance.phase).tone === tone);
  return (
    <div className={`flow-node ${tone} ${picked ? "picked" : ""}`}>
      <Handle type="target" position={vertical ? Position.Top : Position.Left} isConnectable={false} />
      <div className="row" style={{ flexWrap: "nowrap" }}>
        <b>{node.name}</b>
        <span className="muted" title={spread ? devices.join(", ") : undefined}>
          {spread && devices.length > 0 ? (devices.length > 1 ? `on ${devices.length} devices` : `on ${devices[0]}`) : node.uses || node.run[0] || ""}
        </span>
      </div>
      <div className="row" style={{ flexWrap: "nowrap" }}>
        <span className="muted">
          {worst ? instancePhase(worst.phase).text : "not placed"}
          {instances.length > 1 ? ` ${ready.length}/${instances.length}` : ""}
        </span>
        <span>{ready.length > 0 ? `${fps(rate)} fps` : ""}</span>
      </div>
      <Handle type="source" position={vertical ? Position.Bottom : Position.Right} isConnectable={false} />
    </div>
  );
}

export function edgeParts(figures: LinkFigures, recent: Share): string[] {
  if (!figures.live) return ["idle"];
  const parts = [`${fps(figures.fps)} fps`];
  if (figures.hop) parts.push(micros(figures.hop.p50));
  parts.push(`${dropPercent(recent.dropped, recent.produced)} drop`);
  if (figures.transport) parts.push(figures.transport);
  return parts;
}

function EdgeLine(props: EdgeProps<Edge<EdgeData>>) {
  const { id, data } = props;
  const [path, x, y] = getBezierPath(props);
  if (!data) return null;
  const parts = edgeParts(data.figures, data.recent);
  return (
    <>
      <BaseEdge id={id} path={path} style={{ strokeWidth: data.picked ? 2 : 1.4, stroke: data.picked ? "var(--accent)" : data.figures.live ? "var(--faint)" : "var(--line-strong)", strokeDasharray: data.link.qos === "durable" ? undefined : "none" }} />
      <EdgeLabelRenderer>
        <button
          type="button"
          className={`edge-label nopan nodrag ${data.picked ? "picked" : ""} ${data.figures.live ? "" : "dim"}`}
          style={{ transform: `translate(-50%, -50%) translate(${x}px, ${y}px)` }}
          data-link={data.link.id}
          onClick={() => data.onPick({ kind: "link", id: data.link.id })}
          aria-label={`Link ${data.link.id}: ${parts.join(", ")}`}
        >
          {data.vertical ? parts.join(" · ") : <TwoLines parts={parts} />}
        </button>
      </EdgeLabelRenderer>
    </>
  );
}

function TwoLines({ parts }: { parts: string[] }) {
  return (
    <>
      {parts.slice(0, 2).join(" · ")}
      {parts.length > 2 && (
        <>
          <br />
          {parts.slice(2).join(" · ")}
        </>
      )}
    </>
  );
}

const NODE_TYPES = { card: NodeCard };
const EDGE_TYPES = { line: EdgeLine };

/** As high as the pipeline needs, within reason. */
function graphHeight(places: { x: number; y: number }[], vertical: boolean): number {
  const ys = places.map((at) => at.y);
  const needed = Math.max(...ys, 0) - Math.min(...ys, 0) + HEIGHT + 90;
  return Math.min(vertical ? 380 : 440, Math.max(190, needed));
}

function useNarrow(): boolean {
  const [narrow, setNarrow] = useState(() => window.innerWidth < NARROW);
  useEffect(() => {
    const change = () => setNarrow(window.innerWidth < NARROW);
    window.addEventListener("resize", change);
    return () => window.removeEventListener("resize", change);
  }, []);
  return narrow;
}

export function Graph({ system, instances, picked, onPick }: { system: System; instances: InstanceStatus[]; picked: Picked; onPick: (picked: Picked) => void }) {
  const vertical = useNarrow();
  const colours = useStore(theme);
  const shape = `${vertical} ${system.nodes.map((node) => node.name).join()} ${system.links.map((link) => link.id).join()}`;
  const places = useMemo(() => {
    const placed = layout(system.nodes.map((node) => node.name), system.links.map((link) => ({ from: link.from, to: link.to })));
    return new Map(placed.map((at) => [at.id, vertical ? { x: at.row * (WIDTH + 30), y: at.layer * (HEIGHT + 70) } : { x: at.layer * (WIDTH + 170), y: at.row * (HEIGHT + 44) }]));
    // The shape says all that the layout depends on.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape]);
  const nodes = system.nodes.map(
    (node): Node<NodeData> => ({
      id: node.name,
      type: "card",
      position: places.get(node.name) ?? { x: 0, y: 0 },
      data: { node, instances: instances.filter((instance) => instance.node === node.name), picked: picked?.kind === "node" && picked.id === node.name, vertical, spread: system.placement === "spread" },
      draggable: false,
      initialWidth: WIDTH,
      initialHeight: HEIGHT,
      ariaLabel: `Node ${node.name}`,
    }),
  );
  const [drops] = useState(() => new RecentDrops());
  const edges = system.links.map((link): Edge<EdgeData> => {
    const figures = linkFigures(link, instances);
    return {
      id: link.id,
      type: "line",
      source: link.from,
      target: link.to,
      data: { link, figures, recent: drops.share(link.id, figures.produced, figures.droppedTotal, Date.now()), picked: picked?.kind === "link" && picked.id === link.id, onPick, vertical },
    };
  });
  return (
    <div className="graph" style={{ height: graphHeight([...places.values()], vertical) }}>
      <ReactFlow
        key={shape}
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        colorMode={colours}
        fitView
        fitViewOptions={{ padding: 0.08, maxZoom: 1.15 }}
        minZoom={0.2}
        maxZoom={2}
        nodesConnectable={false}
        nodesDraggable={false}
        zoomOnScroll={false}
        preventScrolling={false}
        deleteKeyCode={null}
        onNodeClick={(_, node) => onPick({ kind: "node", id: node.id })}
        onEdgeClick={(_, edge) => onPick({ kind: "link", id: edge.id })}
        onPaneClick={() => onPick(null)}
      >
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  );
}
