// Every system and how it does.
import { useState } from "react";

import { api } from "../lib/api";
import { ago, plural } from "../lib/format";
import { matches, searchText, systemPhase } from "../lib/model";
import { Link, navigate, paths } from "../lib/router";
import { useNow, usePoll } from "../lib/stream";
import { CopyCommand, Empty, Labels, Loading, Panel, Tag } from "../ui/parts";

export function SystemsPage() {
  const systems = usePoll("systems", 2000, (signal) => api.listSystems({}, { signal }));
  const [text, setText] = useState("");
  const now = useNow(5000);
  if (!systems.value) return <Loading what="The list of systems" error={systems.error} />;
  const all = [...systems.value.systems].sort((a, b) => a.name.localeCompare(b.name));
  const found = all.filter((system) => matches(searchText([system.name, systemPhase(system.status?.phase).text], system.labels), text));
  return (
    <>
      <div className="head">
        <h1>Systems</h1>
        <span className="muted">{plural(all.length, "system")}</span>
        <span className="grow" />
        {all.length > 0 && <input type="search" aria-label="Filter systems" placeholder="Filter: name, label, state" value={text} onChange={(event) => setText(event.target.value)} />}
      </div>
      {found.length === 0 ? (
        <Panel>
          <Empty title={all.length > 0 ? "No system fits the filter" : "No system runs yet"}>
            {all.length === 0 && (
              <>
                <p>A system is a pipeline of nodes, written down in a YAML file. Apply one:</p>
                <CopyCommand text="edgeflow apply system.yaml" />
              </>
            )}
          </Empty>
        </Panel>
      ) : (
        <Panel flush>
          <div className="scroll-x">
            <table>
              <thead>
                <tr>
                  <th>System</th>
                  <th>State</th>
                  <th className="num">Devices</th>
                  <th className="num">Instances</th>
                  <th className="num hide-s">Revision</th>
                  <th className="hide-s">Pipeline</th>
                  <th className="hide-s">Changed</th>
                </tr>
              </thead>
              <tbody>
                {found.map((system) => {
                  const { text: phase, tone } = systemPhase(system.status?.phase);
                  const status = system.status;
                  return (
                    <tr key={system.name} className="link" onClick={(event) => !(event.target as HTMLElement).closest("a") && navigate(paths.system(system.name))}>
                      <td>
                        <div className="stack" style={{ gap: 4 }}>
                          <Link href={paths.system(system.name)}>
                            <b>{system.name}</b>
                          </Link>
                          <Labels labels={system.labels} onPick={setText} />
                          {status?.message && <span className="muted clamp" title={status.message}>{status.message}</span>}
                        </div>
                      </td>
                      <td>
                        <Tag tone={tone}>{phase}</Tag>
                      </td>
                      <td className="num">
                        {status?.devicesReady ?? 0}/{status?.devicesMatched ?? 0}
                      </td>
                      <td className="num">
                        {status?.instancesReady ?? 0}/{status?.instancesDesired ?? 0}
                      </td>
                      <td className="num hide-s">{String(system.revision)}</td>
                      <td className="hide-s muted">{system.nodes.map((node) => node.name).join(" · ")}</td>
                      <td className="hide-s nowrap muted">{ago(system.updatedUnixMs, now)}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        </Panel>
      )}
    </>
  );
}
