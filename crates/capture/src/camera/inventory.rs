//! What cameras a machine has, for people: formats, sizes, rates and controls. Opens each device for
//! a moment, changes nothing, and leaves out what it may not open.

use std::path::PathBuf;

use super::device::Device;
use super::fault::Place;
use super::{Control, Fault, Found, Offer, Places, control, list};

/// A camera with what it offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The device file.
    pub path: PathBuf,
    /// The camera's name.
    pub name: String,
    /// Kernel driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// Serial number; empty: none.
    pub serial: String,
    /// The formats that can be read, with sizes and rates.
    pub offers: Vec<Offer>,
    /// The driver's codes of other formats.
    pub others: Vec<String>,
    /// Its controls.
    pub controls: Vec<Control>,
    /// Why it can't be used, in words; empty: it can.
    pub problem: String,
}

/// Every camera. Devices that do not capture are left out; one that can't be opened is listed with
/// the reason when it is the first of its hardware.
pub fn inventory(places: &Places) -> Vec<Listed> {
    let listed = list(places).into_iter().filter_map(|found| look(&found));
    listed.collect()
}

fn look(found: &Found) -> Option<Listed> {
    let mut listed = Listed {
        path: found.path.clone(),
        name: found.name.clone(),
        driver: found.driver.clone(),
        bus: found.bus.clone(),
        serial: found
            .identity
            .serial
            .as_ref()
            .map(|(_, _, serial)| serial.clone())
            .unwrap_or_default(),
        offers: Vec::new(),
        others: Vec::new(),
        controls: Vec::new(),
        problem: String::new(),
    };
    let place = Place {
        path: found.path.clone(),
        name: found.name.clone(),
    };
    match Device::open(place) {
        Ok(device) => {
            (listed.offers, listed.others) = device.offers();
            listed.controls = control::list(device.fd());
            if !device.facts.card.is_empty() {
                listed.name.clone_from(&device.facts.card);
            }
            Some(listed)
        }
        Err(Fault::NotCamera { .. }) => None,
        Err(fault) if found.identity.index == "0" => {
            listed.problem = fault.text();
            Some(listed)
        }
        Err(_) => None,
    }
}
