// Every live view of every system on one page.
import { useState, type CSSProperties } from "react";

import { api } from "../lib/api";
import { plural } from "../lib/format";
import { matches } from "../lib/model";
import { Link, paths } from "../lib/router";
import { usePoll } from "../lib/stream";
import { viewsOf } from "../lib/views";
import { Empty, Loading, Panel, Segments } from "../ui/parts";
import { Tile } from "../ui/tile";

const SIZES = { small: "280px", medium: "400px", large: "640px" } as const;
type Size = keyof typeof SIZES;

export function WallPage() {
  const systems = usePoll("wall", 3000, (signal) => api.listSystems({}, { signal }));
  const [text, setText] = useState("");
  const [size, setSize] = useState<Size>("medium");
  if (!systems.value) return <Loading what="The list of views" error={systems.error} />;
  const all = systems.value.systems.flatMap((system) => viewsOf(system));
  const found = all.filter(({ source }) => matches(`${source.system} ${source.node} ${source.device}`.toLowerCase(), text));
  return (
    <>
      <div className="head">
        <h1>Video</h1>
        <span className="muted">{plural(all.length, "view")}</span>
        <span className="grow" />
        <input type="search" aria-label="Filter views" placeholder="Filter: system, node, device" value={text} onChange={(event) => setText(event.target.value)} />
        <Segments<Size> label="Tile size" current={size} onPick={setSize} options={[{ id: "small", text: "S" }, { id: "medium", text: "M" }, { id: "large", text: "L" }]} />
      </div>
      {found.length === 0 ? (
        <Panel>
          {all.length === 0 ? (
            <Empty title="No system offers a view">
              <p>
                Name nodes under <code>views:</code> in a system's manifest to see their pictures here.
              </p>
              <Link href={paths.systems()} className="button">
                Go to the systems
              </Link>
            </Empty>
          ) : (
            <Empty title="No view fits the filter" />
          )}
        </Panel>
      ) : (
        <div className="wall" style={{ "--tile": SIZES[size] } as CSSProperties}>
          {found.map((view) => (
            <Tile key={`${view.source.system}/${view.source.node}/${view.source.device}`} {...view} />
          ))}
        </div>
      )}
    </>
  );
}
