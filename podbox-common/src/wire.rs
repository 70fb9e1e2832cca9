//! What may cross between the kernel's side and ours as bytes.

/// Plain data: fixed layout, no padding, no pointers.
///
/// # Safety
///
/// The type is `repr(C)`, has no padding bytes, and every bit pattern is a valid value of it.
pub unsafe trait Wire: Copy + 'static {}

/// Asserts at compile time that the fields' sizes add up to the type's (no padding), and makes it [`Wire`].
macro_rules! wire {
    ($($ty:ty { $($field:ident : $fty:ty),* $(,)? })*) => { $(
        const _: () = assert!(
            size_of::<$ty>() == 0 $(+ size_of::<$fty>())*,
            concat!(stringify!($ty), " has padding"),
        );
        const _: fn(&$ty) = |value| { $(let _: &$fty = &value.$field;)* };
        // SAFETY: repr(C) at the definition; the assertion above excludes padding; integers only.
        unsafe impl $crate::Wire for $ty {}
    )* };
}
pub(crate) use wire;
