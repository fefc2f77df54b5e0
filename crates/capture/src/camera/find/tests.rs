//! Cameras in a folder that looks like /sys.

use std::os::unix::fs::symlink;

use super::*;

/// A machine with USB cameras: number, name, serial number, port.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["class", "dev/v4l/by-id", "devices", "drivers/uvcvideo"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self { dir }
    }

    fn plug(&self, number: u32, name: &str, serial: &str, port: &str) {
        let root = self.dir.path();
        let usb = root.join("devices").join(port);
        let interface = usb.join(format!("{port}:1.0"));
        fs::create_dir_all(&interface).unwrap();
        fs::write(usb.join("idVendor"), "046d\n").unwrap();
        fs::write(usb.join("idProduct"), "0825\n").unwrap();
        fs::write(usb.join("serial"), format!("{serial}\n")).unwrap();
        let _ = symlink(root.join("drivers/uvcvideo"), interface.join("driver"));
        let node = root.join("class").join(format!("video{number}"));
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("name"), format!("{name}\n")).unwrap();
        fs::write(node.join("index"), "0\n").unwrap();
        symlink(&interface, node.join("device")).unwrap();
        fs::write(root.join("dev").join(format!("video{number}")), "").unwrap();
    }

    fn unplug(&self, number: u32) {
        let root = self.dir.path();
        fs::remove_dir_all(root.join("class").join(format!("video{number}"))).unwrap();
        fs::remove_file(root.join("dev").join(format!("video{number}"))).unwrap();
    }

    fn places(&self) -> Places {
        Places {
            class: self.dir.path().join("class"),
            dev: self.dir.path().join("dev"),
        }
    }

    fn find(&self, selector: &Selector, known: Option<&Identity>) -> Result<Vec<String>, String> {
        let found = candidates(&self.places(), selector, known).map_err(|fault| fault.text())?;
        Ok(found.iter().map(|found| last_part(&found.path)).collect())
    }
}

fn named(text: &str) -> Selector {
    text.parse().unwrap()
}

#[test]
fn a_camera_is_found_by_everything_that_names_it() {
    let machine = Machine::new();
    machine.plug(0, "Desk Camera", "A1", "1-1");
    machine.plug(2, "Door Camera: HD", "B2", "1-2");
    let dev = machine.dir.path().join("dev");
    symlink(dev.join("video2"), dev.join("v4l/by-id/door")).unwrap();
    let all = ["video0", "video2"].map(str::to_owned).to_vec();
    assert_eq!(machine.find(&Selector::Auto, None), Ok(all.clone()));
    assert_eq!(machine.find(&named("camera"), None), Ok(all));
    for text in ["door", "Door Camera: HD", "b2", "1-2:1.0"] {
        let found = machine.find(&named(text), None);
        assert_eq!(found, Ok(vec!["video2".to_owned()]), "{text}");
    }
    for path in ["video2", "v4l/by-id/door"] {
        let found = machine.find(&Selector::Path(dev.join(path)), None);
        assert_eq!(found, Ok(vec!["video2".to_owned()]), "{path}");
    }
    assert_eq!(
        machine.find(&named("none such"), None).unwrap_err(),
        format!(
            "not found: there is no camera `none such`; this device has {0}/video0 (Desk Camera), \
             {0}/video2 (Door Camera: HD)",
            dev.display()
        )
    );
}

#[test]
fn a_known_camera_is_found_under_another_number_and_no_other_takes_its_place() {
    let machine = Machine::new();
    machine.plug(0, "Desk Camera", "A1", "1-1");
    machine.plug(1, "Desk Camera", "B2", "1-2");
    let known = list(&machine.places())[0].identity.clone();
    machine.unplug(0);
    let selector = Selector::Path(machine.dir.path().join("dev/video0"));
    let gone = machine.find(&selector, Some(&known)).unwrap_err();
    assert_eq!(gone, "unplugged: Desk Camera is gone");
    machine.plug(0, "Desk Camera", "C3", "1-1");
    assert!(machine.find(&selector, Some(&known)).is_err());
    machine.plug(7, "Desk Camera", "A1", "1-4");
    let found = machine.find(&selector, Some(&known));
    assert_eq!(found, Ok(vec!["video7".to_owned()]));
}

#[test]
fn cameras_that_share_a_serial_number_are_told_by_their_place() {
    let machine = Machine::new();
    machine.plug(0, "Cheap Camera", "SN0001", "1-1");
    machine.plug(1, "Cheap Camera", "SN0001", "1-2");
    let known = list(&machine.places())[1].identity.clone();
    let found = machine.find(&Selector::Auto, Some(&known));
    assert_eq!(found, Ok(vec!["video1".to_owned()]));
}

#[test]
fn texts_name_cameras() {
    for (text, selector) in [
        ("auto", Selector::Auto),
        ("video3", Selector::Path("/dev/video3".into())),
        ("/dev/video3", Selector::Path("/dev/video3".into())),
        ("by-id/usb-x", Selector::Path("/dev/v4l/by-id/usb-x".into())),
        ("C920", Selector::Name("C920".to_owned())),
        ("videocam", Selector::Name("videocam".to_owned())),
    ] {
        assert_eq!(named(text), selector);
    }
    assert!(" ".parse::<Selector>().is_err());
}

#[test]
fn a_machine_without_video_has_no_camera() {
    let machine = Machine::new();
    assert_eq!(
        machine.find(&Selector::Auto, None).unwrap_err(),
        "not found: there is no camera `auto`; this device has none"
    );
}
