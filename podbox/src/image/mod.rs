//! Images: pulled from registries, loaded from archives, unpacked into layers.
