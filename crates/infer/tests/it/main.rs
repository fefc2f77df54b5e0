//! Integration tests: foreign pictures, and real models on real photos where they are at hand.

mod models;
mod pictures;
