/** How a machine that watches itself makes items: whoever looks for one of them again must do it the same way. */

/** In their ids. */
export const WORKER = 'local'
/** Bytes of a body that an item keeps. */
export const KEPT_BODY = 1 << 20
