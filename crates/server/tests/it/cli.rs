//! The program from outside: what it is told, what it prints, and what it leaves behind.

mod commands;
mod config;
mod crash;
mod serving;
mod workers;
