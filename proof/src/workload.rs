//! Clients that make every kind of write over HTTP, and note in the ledger what they try and what they were told.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use guildhall_domain::clock::Random;
use serde_json::{Value, json};

use crate::client::{Answer, Call, Client};
use crate::ledger::{Ledger, Thing};
use crate::place::{below, one_of};
use crate::{Result, process};

/// The password of accounts that are registered.
pub(crate) const PASSWORD: &str = "opensesame 42";

/// Who writes: usernames and session tokens, by the number of the writer.
#[derive(Clone)]
pub(crate) struct Crew(pub(crate) Arc<Vec<(String, String)>>);

impl Crew {
    /// Makes `size` accounts in that data folder.
    pub(crate) fn found(program: &Path, data: &Path, size: usize) -> Result<Self> {
        let member = |number| {
            let name = format!("writer-{number}");
            let token = process::user(program, data, &name)?;
            Ok((name, token))
        };
        Ok(Self(Arc::new((0..size).map(member).collect::<Result<_>>()?)))
    }

    /// The token of the writer of that number.
    pub(crate) fn token(&self, number: usize) -> &str {
        self.0.get(number).map_or("", |(_, token)| token)
    }
}

/// Why a write was not acknowledged.
#[derive(Debug)]
pub(crate) enum Halt {
    /// No answer, or not all of one: it may have happened.
    Broken(io::Error),
    /// An answer that is no success.
    Refused(Answer),
}

/// An organization of a writer, as the writer knows it.
struct Organization {
    slug: String,
    /// What bit and pm415 call it, where it was made through bit.
    number: Option<String>,
    /// What stormz calls it, where it was made through buildog.
    stormz: Option<String>,
    description: String,
    archived: bool,
    members: BTreeMap<String, bool>,
    event: Option<Event>,
    invitation: Option<String>,
    picture: bool,
}

struct Event {
    number: String,
    name: String,
    comes: bool,
}

impl Event {
    fn value(name: &str, comes: bool) -> String {
        format!("{name}, {}", if comes { "comes" } else { "does not come" })
    }
}

/// One client with an account of its own.
pub(crate) struct Writer {
    number: usize,
    crew: Crew,
    client: Client,
    random: Random,
    ledger: Arc<Ledger>,
    organizations: Vec<Organization>,
    sessions: Vec<String>,
}

type Sent = std::result::Result<Answer, Halt>;
type Stepped = std::result::Result<(), Halt>;

impl Writer {
    pub(crate) fn new(
        number: usize,
        crew: &Crew,
        (address, random): (&str, Random),
        ledger: &Arc<Ledger>,
    ) -> Self {
        Self {
            number,
            crew: crew.clone(),
            client: Client::new(address),
            random,
            ledger: ledger.clone(),
            organizations: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// Makes one write.
    ///
    /// # Errors
    /// Where it was not acknowledged.
    pub(crate) fn step(&mut self) -> Stepped {
        if self.organizations.len() < 3 {
            return self.found();
        }
        match below(&self.random, 64) {
            0..8 => self.found(),
            8..18 => self.describe(),
            18..22 => self.archive(),
            22..36 => self.change_member(),
            36..40 => self.picture(),
            40..48 => self.event(),
            48..52 => self.switch(),
            52..54 => self.log_out(),
            54..56 => self.replace_key(),
            56..58 => self.rename(),
            58..62 => self.invite(),
            62 => self.delete(),
            _ => self.register(),
        }
    }

    /// Sends `call`, which makes `tries` true.
    fn send(&mut self, tries: Vec<(Thing, String)>, call: Call) -> Sent {
        let tried: Vec<usize> =
            tries.into_iter().map(|(thing, value)| self.ledger.tries(thing, value)).collect();
        let call = call.by(self.crew.token(self.number));
        let answer = self.client.call(&call).map_err(Halt::Broken)?;
        if !answer.is_success() {
            return Err(Halt::Refused(answer));
        }
        tried.into_iter().for_each(|tried| self.ledger.acknowledged(tried));
        Ok(answer)
    }

    fn organization_is(&self, slug: &str, description: &str, archived: bool) -> (Thing, String) {
        (Thing::Organization(slug.into(), self.number), organization(description, archived))
    }

    /// Makes an organization, through cadasta, buildog or bit.
    fn found(&mut self) -> Stepped {
        let hex = self.random.hex::<8>();
        let (name, slug) = (format!("Guild {hex}"), format!("guild-{hex}"));
        let (mut number, mut stormz, mut description) = (None, None, String::new());
        match below(&self.random, 3) {
            0 => {
                description = self.random.hex::<4>();
                let body = json!({"name": name, "description": description});
                let tries = vec![self.organization_is(&slug, &description, false)];
                self.send(tries, Call::new("POST", "/api/v1/organizations/").json(&body))?;
            }
            1 => {
                let body = json!({"organization_name": name});
                let tries = vec![self.organization_is(&slug, "", false)];
                let made = self.send(tries, Call::new("POST", "/api/organizations").json(&body))?.json();
                let id = made["organization_id"].as_str().unwrap_or_default().replace('-', "");
                stormz = id.get(..24).map(str::to_owned);
            }
            _ => number = Some(self.found_through_bit(&name, &slug)?),
        }
        let fresh = (BTreeMap::new(), None, None, false);
        let (members, event, invitation, picture) = fresh;
        let archived = false;
        self.organizations.push(Organization {
            slug,
            number,
            stormz,
            description,
            archived,
            members,
            event,
            invitation,
            picture,
        });
        Ok(())
    }

    fn found_through_bit(&mut self, name: &str, slug: &str) -> std::result::Result<String, Halt> {
        let (image, background) = (gif(&self.random), gif(&self.random));
        let parts = [
            ("name", None, name.as_bytes()),
            ("image", Some("image/gif"), &image[..]),
            ("background_image", Some("image/gif"), &background[..]),
        ];
        let tries = vec![self.organization_is(slug, "", false)];
        let answer = self.send(tries, Call::new("POST", "/organizations/create").parts(&parts))?;
        Ok(last_of_location(&answer))
    }

    /// The place of one of the writer's organizations that is not archived, and that `fits`.
    fn pick(&self, fits: impl Fn(&Organization) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..self.organizations.len())
            .filter(|place| !self.organizations[*place].archived && fits(&self.organizations[*place]))
            .collect();
        one_of(&self.random, &places).copied()
    }

    fn patch(&mut self, place: usize, (description, archived): (String, bool)) -> Stepped {
        let slug = self.organizations[place].slug.clone();
        let body = if archived == self.organizations[place].archived {
            json!({"description": description})
        } else {
            json!({"archived": archived})
        };
        let mut tries = vec![self.organization_is(&slug, &description, archived)];
        // Nobody is let into what is archived.
        let standing = if archived { "ended" } else { "good" };
        let invitation = self.organizations[place].invitation.clone();
        tries.extend(invitation.map(|token| (Thing::Invitation(token), standing.to_owned())));
        self.send(tries, Call::new("PATCH", format!("/api/v1/organizations/{slug}/")).json(&body))?;
        let organization = &mut self.organizations[place];
        (organization.description, organization.archived) = (description, archived);
        Ok(())
    }

    fn describe(&mut self) -> Stepped {
        let Some(place) = self.pick(|_| true) else { return self.found() };
        let description = self.random.hex::<16>();
        self.patch(place, (description, false))
    }

    /// Archives an organization, or makes one that is archived live again.
    fn archive(&mut self) -> Stepped {
        let archived = self.organizations.iter().position(|organization| organization.archived);
        let Some(place) = archived.or_else(|| self.pick(|_| true)) else { return self.found() };
        let description = self.organizations[place].description.clone();
        self.patch(place, (description, archived.is_none()))
    }

    /// Adds, promotes, demotes or removes somebody.
    fn change_member(&mut self) -> Stepped {
        let Some(place) = self.pick(|_| true) else { return self.found() };
        let others: Vec<String> = self.crew.0.iter().map(|(name, _)| name.clone()).collect();
        let own = others[self.number].clone();
        let Some(name) = one_of(&self.random, &others).filter(|name| **name != own).cloned() else {
            return self.found();
        };
        let slug = self.organizations[place].slug.clone();
        let member = |admin| if admin { "admin" } else { "member" };
        let (path, thing) = (
            format!("/api/v1/organizations/{slug}/users/"),
            Thing::Member(slug.clone(), self.number, name.clone()),
        );
        let one = format!("{path}{name}/");
        match self.organizations[place].members.get(&name).copied() {
            None => {
                let body = json!({"username": name, "admin": false});
                self.send(vec![(thing, "member".into())], Call::new("POST", path).json(&body))?;
                self.organizations[place].members.insert(name, false);
            }
            Some(_) if below(&self.random, 3) == 0 => {
                self.send(vec![(thing, "none".into())], Call::new("DELETE", one))?;
                self.organizations[place].members.remove(&name);
            }
            Some(admin) => {
                let body = json!({"admin": !admin});
                self.send(vec![(thing, member(!admin).into())], Call::new("PATCH", one).json(&body))?;
                self.organizations[place].members.insert(name, !admin);
            }
        }
        Ok(())
    }

    /// Gives an organization a picture, or takes it away.
    fn picture(&mut self) -> Stepped {
        let Some(place) = self.pick(|organization| organization.stormz.is_some()) else {
            return self.found();
        };
        let organization = &self.organizations[place];
        let (id, own) = (organization.stormz.clone().unwrap_or_default(), !organization.picture);
        let image = gif(&self.random);
        let part = ("avatar", Some("image/gif"), &image[..]);
        let call = Call::new("PUT", format!("/v1/organizations/{id}/avatar"));
        let call = call.parts(if own { std::slice::from_ref(&part) } else { &[] });
        let value = if own { "own" } else { "default" };
        self.send(vec![(Thing::Picture(id, self.number), value.into())], call)?;
        self.organizations[place].picture = own;
        Ok(())
    }

    /// Makes, renames, joins, leaves or deletes an event.
    fn event(&mut self) -> Stepped {
        let Some(place) = self.pick(|organization| organization.number.is_some()) else {
            return self.found();
        };
        let number = self.organizations[place].number.clone().unwrap_or_default();
        let Some(Event { number: event, name, comes }) = self.organizations[place].event.take() else {
            let name = self.random.hex::<8>();
            let body = json!({"name": name, "date": "2036-02-10T22:27:00+0000"});
            let call = Call::new("POST", format!("/organizations/{number}/events/create")).json(&body);
            let event = last_of_location(&self.send(vec![], call)?);
            self.ledger.made(Thing::Event(event.clone(), self.number), Event::value(&name, false));
            self.organizations[place].event = Some(Event { number: event, name, comes: false });
            return Ok(());
        };
        let (path, thing) = (format!("/events/{event}"), Thing::Event(event.clone(), self.number));
        let (name, comes) = match below(&self.random, 4) {
            0 => {
                self.send(vec![(thing, "gone".into())], Call::new("DELETE", path))?;
                return Ok(());
            }
            1 => {
                let name = self.random.hex::<8>();
                let tries = vec![(thing, Event::value(&name, comes))];
                self.send(tries, Call::new("PUT", path).json(&json!({"name": name})))?;
                (name, comes)
            }
            _ => {
                let method = if comes { "DELETE" } else { "PUT" };
                let tries = vec![(thing, Event::value(&name, !comes))];
                self.send(tries, Call::new(method, format!("{path}/rsvp")))?;
                (name, !comes)
            }
        };
        self.organizations[place].event = Some(Event { number: event, name, comes });
        Ok(())
    }

    /// Gets a further session.
    fn switch(&mut self) -> Stepped {
        let Some(place) = self.pick(|organization| organization.number.is_some()) else {
            return self.found();
        };
        let number = self.organizations[place].number.clone().unwrap_or_default();
        let answer = self.send(vec![], Call::new("POST", format!("/api/org/switch/{number}")))?.json();
        let token = text(&answer["token"]);
        self.ledger.made(Thing::Session(token.clone()), "good");
        self.sessions.push(token);
        Ok(())
    }

    /// Ends a further session.
    fn log_out(&mut self) -> Stepped {
        let Some(token) = self.sessions.pop() else { return self.switch() };
        let tried = self.ledger.tries(Thing::Session(token.clone()), "ended");
        let answer =
            self.client.call(&Call::new("DELETE", "/user/logout").by(&token)).map_err(Halt::Broken)?;
        if !answer.is_success() {
            return Err(Halt::Refused(answer));
        }
        self.ledger.acknowledged(tried);
        Ok(())
    }

    fn replace_key(&mut self) -> Stepped {
        // Also those of earlier lives: a new key ends all.
        let old = self.ledger.api_keys(self.number);
        let tries = old.into_iter().map(|key| (Thing::ApiKey(self.number, key), "ended".into())).collect();
        let answer = self.send(tries, Call::new("POST", "/api/user/apikey"))?.json();
        self.ledger.made(Thing::ApiKey(self.number, text(&answer["apiKey"])), "good");
        Ok(())
    }

    fn rename(&mut self) -> Stepped {
        let name = self.random.hex::<8>();
        let call = Call::new("PATCH", "/api/v1/account/").json(&json!({"full_name": name}));
        self.send(vec![(Thing::Name(self.number), name)], call).map(drop)
    }

    /// Invites somebody; the second time for the same address the first link ends.
    fn invite(&mut self) -> Stepped {
        let Some(place) = self.pick(|organization| organization.number.is_some()) else {
            return self.found();
        };
        let organization = &self.organizations[place];
        let number = organization.number.clone().unwrap_or_default();
        let email = format!("{}@example.net", organization.slug);
        let old = organization.invitation.clone();
        let ended = old.into_iter().map(|token| (Thing::Invitation(token), "ended".to_owned()));
        let tries = ended.chain([(Thing::Letter(email.clone()), "sent".into())]).collect();
        let call = Call::new("POST", format!("/api/org/{number}/invitelink")).json(&json!({"email": email}));
        let answer = self.send(tries, call)?.json();
        let link = text(&answer["confirmUrl"]);
        let token = link.rsplit('=').next().unwrap_or_default().to_owned();
        self.ledger.made(Thing::Invitation(token.clone()), "good");
        self.organizations[place].invitation = Some(token);
        Ok(())
    }

    /// Makes an organization and deletes it with its pictures.
    fn delete(&mut self) -> Stepped {
        let hex = self.random.hex::<8>();
        let slug = format!("passing-{hex}");
        let number = self.found_through_bit(&format!("Passing {hex}"), &slug)?;
        let tries = vec![(Thing::Organization(slug, self.number), "gone".into())];
        self.send(tries, Call::new("DELETE", format!("/organizations/{number}"))).map(drop)
    }

    /// Makes an account.
    fn register(&mut self) -> Stepped {
        let username = format!("r{}", self.random.hex::<8>());
        let email = format!("{username}@example.org");
        let body = json!({"username": username, "email": email, "password": PASSWORD});
        let tries = [(Thing::Account(username), "there"), (Thing::Letter(email), "sent")];
        // Nobody's: an account is made by who has none.
        let tried: Vec<usize> =
            tries.into_iter().map(|(thing, value)| self.ledger.tries(thing, value)).collect();
        let call = Call::new("POST", "/api/v1/account/register/").json(&body);
        let answer = self.client.call(&call).map_err(Halt::Broken)?;
        if !answer.is_success() {
            return Err(Halt::Refused(answer));
        }
        tried.into_iter().for_each(|tried| self.ledger.acknowledged(tried));
        Ok(())
    }
}

/// How an organization is told in the ledger.
pub(crate) fn organization(description: &str, archived: bool) -> String {
    format!("{description:?}, {}", if archived { "archived" } else { "live" })
}

/// How an event is told in the ledger.
pub(crate) fn event(name: &str, comes: bool) -> String {
    Event::value(name, comes)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn last_of_location(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_default();
    location.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A picture of one pixel, of a colour that chance chooses.
pub(crate) fn gif(random: &Random) -> Vec<u8> {
    let [red, green, blue] = random.bytes();
    let head = [b"GIF89a".as_slice(), &[1, 0, 1, 0, 0x80, 0, 0, red, green, blue, 0, 0, 0]].concat();
    [head.as_slice(), &[0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b]].concat()
}

/// Writers that are at work, each on a thread of its own.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Option<Halt>>>,
}

impl Load {
    /// Lets the whole crew write to `address`, each from a generator of its own.
    pub(crate) fn start(address: &str, crew: &Crew, random: &Random, ledger: &Arc<Ledger>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number| {
            let own = Random::seeded(u64::from_le_bytes(random.bytes()));
            let mut writer = Writer::new(number, crew, (address, own), ledger);
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    if let Err(halt) = writer.step() {
                        return Some(halt);
                    }
                }
                None
            })
        };
        let threads = (0..crew.0.len()).map(start).collect();
        Self { stop, threads }
    }

    /// Lets each finish the write it is at; what halted them before.
    pub(crate) fn stop(self) -> Vec<Halt> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    }
}

/// What no writer should have been told, a line each.
pub(crate) fn refusals(halts: &[Halt]) -> Vec<String> {
    let refused = halts.iter().filter_map(|halt| match halt {
        Halt::Refused(answer) => {
            Some(format!("refused with {}: {}", answer.status, String::from_utf8_lossy(&answer.body)))
        }
        Halt::Broken(_) => None,
    });
    refused.collect()
}
