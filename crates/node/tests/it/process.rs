//! Starts the test node as an agent would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use edgeflow_proto::v1::node_service_client::NodeServiceClient;
use edgeflow_proto::v1::{
    DeadLettersAnswer, DeadLettersAsk, NodeReport, SetNodeParamsRequest, StopNodeRequest,
    WatchNodeRequest,
};
use edgeflow_spec::assignment::{Input, Instance, OutputGroup, Program, RestartPolicy};
use edgeflow_spec::instance_config::{INSTANCE_ENV, InputSocket, InstanceConfig, OutputSocket};
use edgeflow_spec::qos::LinkQos;
use serde_json::{Value, json};

/// Longest wait for a state that has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with the sockets of a small system.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// One node process. Killed when dropped.
pub(crate) struct Process {
    child: Option<Child>,
    control: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node that listens on its own output and takes what `from` sends.
    pub(crate) fn start(
        &self,
        role: &str,
        node: &str,
        from: Option<&str>,
        to: Option<&str>,
        qos: &LinkQos,
        params: Value,
    ) -> Process {
        let config = self.config(node, from, to, qos, params);
        self.start_with(role, node, &config)
    }

    /// Starts the source with several durable consumers.
    pub(crate) fn start_split(&self, to: &[&str], qos: &LinkQos, params: Value) -> Process {
        let mut config = self.config("numbers", None, None, qos, params);
        config.instance.outputs[0].groups = to
            .iter()
            .map(|to| OutputGroup {
                devices: Vec::new(),
                link: format!("numbers->{to}"),
                group: (*to).to_owned(),
                qos: qos.clone(),
            })
            .collect();
        self.start_with("numbers", "numbers", &config)
    }

    /// Starts a node whose inputs `left` and `right` come from two others.
    pub(crate) fn start_joined(
        &self,
        role: &str,
        node: &str,
        from: [&str; 2],
        qos: &LinkQos,
        params: Value,
    ) -> Process {
        let mut config = self.config(node, None, None, qos, params);
        for (port, from) in ["left", "right"].into_iter().zip(from) {
            let link = format!("{from}->{node}");
            config.instance.inputs.push(Input {
                remote: std::collections::BTreeMap::new(),
                port: port.to_owned(),
                link: link.clone(),
                group: node.to_owned(),
                qos: qos.clone(),
                from_port: "out".to_owned(),
                from: vec![format!("s.{from}.0")],
            });
            config.input_sockets.push(InputSocket {
                device: None,
                port: port.to_owned(),
                link,
                group: node.to_owned(),
                qos: qos.clone(),
                from: format!("s.{from}.0"),
                path: self.path(&format!("{from}.out")),
            });
        }
        self.start_with(role, node, &config)
    }

    fn start_with(&self, role: &str, node: &str, config: &InstanceConfig) -> Process {
        let file = self.path(&format!("{node}.json"));
        std::fs::create_dir_all(&config.state_dir).unwrap();
        std::fs::write(&file, serde_json::to_vec(config).unwrap()).unwrap();
        let child = command(role).env(INSTANCE_ENV, &file).spawn().unwrap();
        Process {
            child: Some(child),
            control: config.control_socket.clone(),
        }
    }

    fn config(
        &self,
        node: &str,
        from: Option<&str>,
        to: Option<&str>,
        qos: &LinkQos,
        params: Value,
    ) -> InstanceConfig {
        let input = from.map(|from| InputSocket {
            device: None,
            port: "in".to_owned(),
            link: format!("{from}->{node}"),
            group: node.to_owned(),
            qos: qos.clone(),
            from: format!("s.{from}.0"),
            path: self.path(&format!("{from}.out")),
        });
        let groups = to.map(|to| OutputGroup {
            devices: Vec::new(),
            link: format!("{node}->{to}"),
            group: to.to_owned(),
            qos: qos.clone(),
        });
        let Value::Object(params) = params else {
            panic!("parameters are an object")
        };
        InstanceConfig {
            instance: Instance {
                trace_every: 100,
                models: std::collections::BTreeSet::new(),
                id: format!("s.{node}.0"),
                system: "s".to_owned(),
                node: node.to_owned(),
                replica: 0,
                revision: 1,
                program: Program::Command(Vec::new()),
                env: std::collections::BTreeMap::new(),
                params,
                inputs: Vec::new(),
                outputs: vec![edgeflow_spec::assignment::Output {
                    port: "out".to_owned(),
                    groups: groups.into_iter().collect(),
                }],
                broker: None,
                restart: RestartPolicy::Always,
                overrides: serde_json::Map::new(),
                stop_grace_ms: 2000,
            },
            device: "d".to_owned(),
            control_socket: self.path(&format!("{node}.control")),
            output_sockets: vec![OutputSocket {
                port: "out".to_owned(),
                path: self.path(&format!("{node}.out")),
            }],
            input_sockets: input.into_iter().collect(),
            own_broker: None,
            state_dir: self.path(&format!("{node}.state")),
            models: std::collections::BTreeMap::new(),
            asset_dirs: Vec::new(),
        }
    }
}

/// The test node, which is an example of this crate, without an instance file.
pub(crate) fn command(role: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    // target/debug/deps/it-… → target/debug/examples/test_node
    let folder = own.parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(folder.join("examples/test_node"));
    command
        .arg(role)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    command
        .env_remove(INSTANCE_ENV)
        .env_remove("RUST_BACKTRACE");
    command
}

pub(crate) fn no_params() -> Value {
    json!({})
}

impl Process {
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().unwrap();
        child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) -> Output {
        let mut child = self.child.take().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("the node does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap()
    }

    /// Waits for a report that satisfies `wanted`.
    pub(crate) fn report(&self, wanted: impl Fn(&NodeReport) -> bool) -> NodeReport {
        run(async {
            let mut client = self.client().await;
            let stream = client.watch(WatchNodeRequest {}).await.unwrap();
            let mut stream = stream.into_inner();
            loop {
                let report = stream.message().await.unwrap().unwrap();
                if wanted(&report) {
                    return report;
                }
            }
        })
    }

    pub(crate) fn stop(&self) {
        run(async {
            let mut client = self.client().await;
            let request = StopNodeRequest { grace_ms: 1000 };
            client.stop(request).await.unwrap();
        });
    }

    /// Asks to change the parameters: why it was refused, empty if it was not.
    pub(crate) fn set_params(&self, params: &Value) -> Result<String, tonic::Status> {
        run(async {
            let params_json = params.to_string();
            let request = SetNodeParamsRequest { params_json };
            let answer = self.client().await.set_params(request).await?;
            Ok(answer.into_inner().refusal)
        })
    }

    /// What it says about its dead letters.
    pub(crate) fn dead_letters(&self, ask: DeadLettersAsk) -> DeadLettersAnswer {
        run(async {
            let mut client = self.client().await;
            client.dead_letters(ask).await.unwrap().into_inner()
        })
    }

    async fn client(&self) -> NodeServiceClient<tonic::transport::Channel> {
        let address = format!("unix:{}", self.control.display());
        loop {
            if let Ok(client) = NodeServiceClient::connect(address.clone()).await {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .expect("in time")
}
