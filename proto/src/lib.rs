//! Generated types of the `.proto` files.
