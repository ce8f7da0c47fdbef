//! A small fleet to look at: thermometers with batteries, whose values live.

use std::process::ExitCode;

use crate::address::AddressPlan;
use crate::cli::DemoArgs;
use crate::clock::{Clock, Micros, SECOND};
use crate::driver::{Driver, Load};
use crate::error::Error;
use crate::exchange::Timing;
use crate::fleet::{Fleet, Make};
use crate::measure::Action;
use crate::model::{Model, Values};
use crate::progress::Progress;
use crate::run::status;
use crate::schedule::{Rate, Schedule};
use crate::socket::{Plain, Route};

/// How long the devices take to leave once they were interrupted.
const FAREWELL: Micros = 3 * SECOND;

/// Runs until interrupted, then de-registers. The exit code is 3 when the server never answered.
pub(crate) fn demo(args: &DemoArgs) -> Result<ExitCode, Error> {
    let devices = args.devices.max(1);
    let objects: Vec<String> = ["/1/0", "/3/0", "/3303/0"].map(Into::into).into();
    let make = Make {
        endpoint: args.endpoint.clone(),
        first: 1,
        lifetime: args.lifetime,
        version: "1.1".into(),
        binding: "U".into(),
        queue: false,
        confirmable: true,
        model: Model::new(&objects, Values::Lively)?,
        timing: Timing { retry: 2 * SECOND, ..Timing::default() },
    };
    let server = args.target.server(false);
    let plan = AddressPlan::new(*server.ip(), devices, args.target.source, args.target.addresses)?;
    let route = Route { plan, server };
    let transport = Plain::open(route, args.target.port).map_err(Error::Socket)?;
    let clock = Clock::start();
    let mut driver = Driver::new(transport, clock).map_err(Error::Socket)?;
    let mut fleet = Fleet::new(make, devices, u64::from(std::process::id()), None, clock);

    let every = |seconds: f64| Rate(f64::from(devices) / seconds.max(0.001));
    let load = |action, rate, end| Load::new(action, Schedule::new(clock.now(), rate, end), devices);
    let all = Some(u64::from(devices));
    let mut loads = [
        load(Action::Register, every(2.0), all),
        load(Action::Update, every(f64::from(args.lifetime) / 2.0), None),
        load(Action::Notify, every(args.every.as_secs_f64()), None),
    ];
    let mut progress = Progress::new(args.quiet);
    progress.phase("demo", devices.into());
    while !driver.interrupted() {
        let now = clock.now();
        progress.show(now, fleet.registered().into(), || status(&fleet));
        driver.turn(&mut fleet, &mut loads, now + SECOND / 2).map_err(Error::Socket)?;
    }
    let mut loads = [load(Action::Deregister, Rate(1000.0), all)];
    let last = clock.now() + FAREWELL;
    while clock.now() < last && !(loads[0].is_done() && fleet.open() == 0) {
        driver.turn(&mut fleet, &mut loads, last).map_err(Error::Socket)?;
    }
    progress.finish();
    let answered = fleet.measure.completed() > 0;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
