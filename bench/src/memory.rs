//! What the server takes of the machine's memory, at rest and under load of every kind.

use std::path::Path;
use std::time::Duration;

use crate::cases::Plan;
use crate::report::{Report, rate, time};
use crate::server::Process;
use crate::world::{SLUG_IN_LUA, World};
use crate::{Result, town, wrk};

/// In MB.
const IDLE_AT_MOST: f64 = 40.0;
const LOADED_AT_MOST: f64 = 150.0;
/// How long it is left alone before its rest is measured.
const REST: Duration = Duration::from_secs(3);

/// Who sends what.
pub(crate) struct Load<'a> {
    pub(crate) world: &'a World,
    pub(crate) reader: &'a str,
    pub(crate) owner: &'a str,
}

/// A server that was just started and asked for nothing, then under load; `process` comes with what stands before its name.
pub(crate) fn measure(
    plan: &Plan,
    folder: &Path,
    (process, engine): (&Process, &str),
    load: &Load<'_>,
    report: &mut Report,
) -> Result<()> {
    std::thread::sleep(REST);
    let idle = mb(process.memory("VmRSS")?);
    let url = format!("{}/", process.base);
    let script = load.script();
    let load = wrk::Load { url: &url, connections: 64, threads: 1, script: &script };
    let figures = wrk::run(&load, plan.load, folder)?;
    let (most, after) = (mb(process.memory("VmHWM")?), mb(process.memory("VmRSS")?));
    let missed = |is: bool| if is { ", **missed**" } else { "" };
    report.note(format!(
        "{engine}memory: {idle:.1} MB idle{} (at most {IDLE_AT_MOST}); {most:.1} MB at most{} (at most {LOADED_AT_MOST}) and \
         {after:.1} MB at its end in {} s of load by 64 clients on {} requests of every kind in a second, p99 {}.",
        missed(idle > IDLE_AT_MOST),
        missed(most > LOADED_AT_MOST),
        plan.load.as_secs(),
        rate(figures.per_second),
        time(figures.p99),
    ));
    Ok(())
}

impl Load<'_> {
    /// Organizations from all over the database, lists and their parts, new organizations, now and then a sign-in.
    fn script(&self) -> String {
        let Self { world, reader, owner } = self;
        format!(
            r#"local reader = {{ ['Authorization'] = 'Bearer {reader}' }}
local owner = {{ ['Authorization'] = 'Bearer {owner}', ['Content-Type'] = 'application/json' }}
local nobody = {{ ['Content-Type'] = 'application/json' }}
local count, guilds = 0, {guilds}
local pages = math.max(1, math.floor(guilds / 100))
request = function()
    count = count + 1
    local kind = math.random(1000)
    if kind <= 350 then
        return wrk.format('GET', '/v1/organizations/{circle}', reader)
    elseif kind <= 650 then
        return wrk.format('GET', '/api/v1/organizations/' .. slug(3 * math.random(guilds / 3) - 2) .. '/', reader)
    elseif kind <= 750 then
        return wrk.format('GET', '/api/organizations', reader)
    elseif kind <= 850 then
        return wrk.format('GET', '/v1/organizations/{city}/members?per_page=100&page=' .. math.random(math.min(pages, 20)), reader)
    elseif kind <= 895 then
        return wrk.format('GET', '/api/v1/organizations/?limit=100', reader)
    elseif kind <= 995 then
        local body = '{{"organization_name":"Loaded ' .. count .. '"}}'
        return wrk.format('POST', '/api/organizations', owner, body)
    end
    local body = '{{"username":"{signer}","password":"{password}"}}'
    return wrk.format('POST', '/api/v1/account/login/', nobody, body)
end
"#,
            guilds = world.size,
            circle = world.circle.uid.short(),
            city = world.city.uid.short(),
            signer = town::signer(0),
            password = town::PASSWORD,
        ) + SLUG_IN_LUA
    }
}

/// Of KiB.
pub(crate) fn mb(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) * 1024.0 / 1e6
}
