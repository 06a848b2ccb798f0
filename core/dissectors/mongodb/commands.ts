/** Commands of MongoDB: what their first value names, and the names of errors that come without one. */

/** Their value is a namespace, `shop.orders`. */
const OF_NAMESPACES: ReadonlySet<string> = new Set([
  'balancerCollectionStatus',
  'cleanupOrphaned',
  'clearJumboFlag',
  'mergeChunks',
  'moveChunk',
  'moveCollection',
  'renameCollection',
  'reshardCollection',
  'shardCollection',
  'split',
  'unshardCollection',
])

/** Their value is text, and no collection. */
const OF_OTHER_THINGS: ReadonlySet<string> = new Set([
  'addShard',
  'addShardToZone',
  'createRole',
  'createUser',
  'dropRole',
  'dropUser',
  'enableSharding',
  'getLog',
  'getParameter',
  'grantPrivilegesToRole',
  'grantRolesToRole',
  'grantRolesToUser',
  'movePrimary',
  'removeShard',
  'removeShardFromZone',
  'revokePrivilegesFromRole',
  'revokeRolesFromRole',
  'revokeRolesFromUser',
  'rolesInfo',
  'updateRole',
  'updateUser',
  'updateZoneKeyRange',
  'usersInfo',
])

/** `value` is that of the command's own field. */
export function collectionOf(command: string, value: string | null, collectionField: string | null): string | null {
  if (value === null) return collectionField
  if (OF_NAMESPACES.has(command)) return value.slice(value.indexOf('.') + 1)
  return OF_OTHER_THINGS.has(command) ? null : value
}

/** Errors of single writes have a code, and no name. */
export const ERROR_NAMES: { readonly [code: number]: string } = {
  2: 'BadValue',
  9: 'FailedToParse',
  11: 'UserNotFound',
  13: 'Unauthorized',
  14: 'TypeMismatch',
  18: 'AuthenticationFailed',
  20: 'IllegalOperation',
  26: 'NamespaceNotFound',
  28: 'PathNotViable',
  43: 'CursorNotFound',
  48: 'NamespaceExists',
  50: 'MaxTimeMSExpired',
  52: 'DollarPrefixedFieldName',
  59: 'CommandNotFound',
  61: 'ShardKeyNotFound',
  64: 'WriteConcernFailed',
  66: 'ImmutableField',
  91: 'ShutdownInProgress',
  112: 'WriteConflict',
  121: 'DocumentValidationFailure',
  189: 'PrimarySteppedDown',
  10107: 'NotWritablePrimary',
  11000: 'DuplicateKey',
  11600: 'InterruptedAtShutdown',
  11601: 'Interrupted',
  11602: 'InterruptedDueToReplStateChange',
  13435: 'NotPrimaryNoSecondaryOk',
  13436: 'NotPrimaryOrSecondary',
}
