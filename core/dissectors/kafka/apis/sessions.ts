/**
 * What a client says about itself: versions, credentials, delegation tokens, telemetry.
 */
import type { Definition } from '../definition.ts'

export const SESSIONS: readonly Definition[] = [
  {
    key: 17,
    name: 'SaslHandshake',
    versions: [0, 1],
    flexible: null,
    request: `mechanism:mechanism`,
    response: `errorCode:error mechanisms[string]`,
  },
  {
    key: 18,
    name: 'ApiVersions',
    versions: [0, 5],
    flexible: 3,
    request: `clientSoftwareName@3:string clientSoftwareVersion@3:string clusterId@5:string nodeId@5:i32`,
    response: `
      errorCode:error apiKeys[apiKey:i16 minVersion:i16 maxVersion:i16] throttleTimeMs@1:i32
      supportedFeatures@3#0[
        name:string minVersion:i16 maxVersion:i16
      ] finalizedFeaturesEpoch@3#1:i64 finalizedFeatures@3#2[
        name:string maxVersionLevel:i16 minVersionLevel:i16
      ] zkMigrationReady@3#3:bool
    `,
  },
  {
    key: 36,
    name: 'SaslAuthenticate',
    versions: [0, 2],
    flexible: 2,
    request: `authBytes:credentials`,
    response: `errorCode:error errorMessage:string authBytes:secret sessionLifetimeMs@1:i64`,
  },
  {
    key: 38,
    name: 'CreateDelegationToken',
    versions: [0, 3],
    flexible: 2,
    request: `
      ownerPrincipalType@3:string ownerPrincipalName@3:string renewers[
        principalType:string principalName:string
      ] maxLifetimeMs:i64
    `,
    response: `
      errorCode:error principalType:string principalName:string tokenRequesterPrincipalType@3:string
      tokenRequesterPrincipalName@3:string issueTimestampMs:i64 expiryTimestampMs:i64 maxTimestampMs:i64
      tokenId:string hmac:secret throttleTimeMs:i32
    `,
  },
  {
    key: 39,
    name: 'RenewDelegationToken',
    versions: [0, 2],
    flexible: 2,
    request: `hmac:secret renewPeriodMs:i64`,
    response: `errorCode:error expiryTimestampMs:i64 throttleTimeMs:i32`,
  },
  {
    key: 40,
    name: 'ExpireDelegationToken',
    versions: [0, 2],
    flexible: 2,
    request: `hmac:secret expiryTimePeriodMs:i64`,
    response: `errorCode:error expiryTimestampMs:i64 throttleTimeMs:i32`,
  },
  {
    key: 41,
    name: 'DescribeDelegationToken',
    versions: [0, 3],
    flexible: 2,
    request: `owners[principalType:string principalName:string]`,
    response: `
      errorCode:error tokens[
        principalType:string principalName:string tokenRequesterPrincipalType@3:string
        tokenRequesterPrincipalName@3:string issueTimestamp:i64 expiryTimestamp:i64 maxTimestamp:i64
        tokenId:string hmac:secret renewers[principalType:string principalName:string]
      ] throttleTimeMs:i32
    `,
  },
  {
    key: 50,
    name: 'DescribeUserScramCredentials',
    versions: [0, 0],
    flexible: 0,
    request: `users[name:string]`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string results[
        user:string errorCode:error errorMessage:string credentialInfos[mechanism:i8 iterations:i32]
      ]
    `,
  },
  {
    key: 51,
    name: 'AlterUserScramCredentials',
    versions: [0, 0],
    flexible: 0,
    request: `
      deletions[name:string mechanism:i8] upsertions[
        name:string mechanism:i8 iterations:i32 salt:secret saltedPassword:secret
      ]
    `,
    response: `throttleTimeMs:i32 results[user:string errorCode:error errorMessage:string]`,
  },
  {
    key: 71,
    name: 'GetTelemetrySubscriptions',
    versions: [0, 0],
    flexible: 0,
    request: `clientInstanceId:uuid`,
    response: `
      throttleTimeMs:i32 errorCode:error clientInstanceId:uuid subscriptionId:i32 acceptedCompressionTypes[i8]
      pushIntervalMs:i32 telemetryMaxBytes:i32 deltaTemporality:bool requestedMetrics[string]
    `,
  },
  {
    key: 72,
    name: 'PushTelemetry',
    versions: [0, 0],
    flexible: 0,
    request: `clientInstanceId:uuid subscriptionId:i32 terminating:bool compressionType:i8 metrics:bytes`,
    response: `throttleTimeMs:i32 errorCode:error`,
  },
]
