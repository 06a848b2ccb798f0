/**
 * Share groups: records handed out one by one, acknowledged one by one.
 */
import type { Definition } from '../definition.ts'

export const SHARE_GROUPS: readonly Definition[] = [
  {
    key: 76,
    name: 'ShareGroupHeartbeat',
    versions: [0, 1],
    flexible: 0,
    request: `groupId:string memberId:string memberEpoch:i32 rackId:string subscribedTopicNames[string]`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string memberId:string memberEpoch:i32
      heartbeatIntervalMs:i32 assignment?{topicPartitions[topicId:uuid partitions[i32]]}
    `,
  },
  {
    key: 77,
    name: 'ShareGroupDescribe',
    versions: [0, 1],
    flexible: 0,
    request: `groupIds[string] includeAuthorizedOperations:bool`,
    response: `
      throttleTimeMs:i32 groups[
        errorCode:error errorMessage:string groupId:string groupState:string groupEpoch:i32 assignmentEpoch:i32
        assignorName:string members[
          memberId:string rackId:string memberEpoch:i32 clientId:string clientHost:string
          subscribedTopicNames[string] assignment{
            topicPartitions[topicId:uuid topicName:string partitions[i32]]
          }
        ] authorizedOperations:i32
      ]
    `,
  },
  {
    key: 78,
    name: 'ShareFetch',
    versions: [0, 2],
    flexible: 0,
    request: `
      groupId:string memberId:string shareSessionEpoch:i32 maxWaitMs:i32 minBytes:i32 maxBytes:i32
      maxRecords@1:i32 batchSize@1:i32 shareAcquireMode@2:i8 isRenewAck@2:bool topics[
        topicId:uuid partitions[
          partitionIndex:i32 partitionMaxBytes@-0:i32 acknowledgementBatches[
            firstOffset:i64 lastOffset:i64 acknowledgeTypes[i8]
          ]
        ]
      ] forgottenTopicsData[topicId:uuid partitions[i32]]
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string acquisitionLockTimeoutMs@1:i32 responses[
        topicId:uuid partitions[
          partitionIndex:i32 errorCode:error errorMessage:string acknowledgeErrorCode:error
          acknowledgeErrorMessage:string currentLeader{leaderId:i32 leaderEpoch:i32} records:records
          acquiredRecords[
            firstOffset:i64 lastOffset:i64 deliveryCount:i16
          ]
        ]
      ] nodeEndpoints[nodeId:i32 host:string port:i32 rack:string]
    `,
  },
  {
    key: 79,
    name: 'ShareAcknowledge',
    versions: [0, 2],
    flexible: 0,
    request: `
      groupId:string memberId:string shareSessionEpoch:i32 isRenewAck@2:bool topics[
        topicId:uuid partitions[
          partitionIndex:i32 acknowledgementBatches[firstOffset:i64 lastOffset:i64 acknowledgeTypes[i8]]
        ]
      ]
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string acquisitionLockTimeoutMs@2:i32 responses[
        topicId:uuid partitions[
          partitionIndex:i32 errorCode:error errorMessage:string currentLeader{leaderId:i32 leaderEpoch:i32}
        ]
      ] nodeEndpoints[nodeId:i32 host:string port:i32 rack:string]
    `,
  },
  {
    key: 83,
    name: 'InitializeShareGroupState',
    versions: [0, 0],
    flexible: 0,
    request: `groupId:string topics[topicId:uuid partitions[partition:i32 stateEpoch:i32 startOffset:i64]]`,
    response: `results[topicId:uuid partitions[partition:i32 errorCode:error errorMessage:string]]`,
  },
  {
    key: 84,
    name: 'ReadShareGroupState',
    versions: [0, 0],
    flexible: 0,
    request: `groupId:string topics[topicId:uuid partitions[partition:i32 leaderEpoch:i32]]`,
    response: `
      results[
        topicId:uuid partitions[
          partition:i32 errorCode:error errorMessage:string stateEpoch:i32 startOffset:i64 stateBatches[
            firstOffset:i64 lastOffset:i64 deliveryState:i8 deliveryCount:i16
          ]
        ]
      ]
    `,
  },
  {
    key: 85,
    name: 'WriteShareGroupState',
    versions: [0, 1],
    flexible: 0,
    request: `
      groupId:string topics[
        topicId:uuid partitions[
          partition:i32 stateEpoch:i32 leaderEpoch:i32 startOffset:i64 deliveryCompleteCount@1:i32 stateBatches[
            firstOffset:i64 lastOffset:i64 deliveryState:i8 deliveryCount:i16
          ]
        ]
      ]
    `,
    response: `results[topicId:uuid partitions[partition:i32 errorCode:error errorMessage:string]]`,
  },
  {
    key: 86,
    name: 'DeleteShareGroupState',
    versions: [0, 0],
    flexible: 0,
    request: `groupId:string topics[topicId:uuid partitions[partition:i32]]`,
    response: `results[topicId:uuid partitions[partition:i32 errorCode:error errorMessage:string]]`,
  },
  {
    key: 87,
    name: 'ReadShareGroupStateSummary',
    versions: [0, 1],
    flexible: 0,
    request: `groupId:string topics[topicId:uuid partitions[partition:i32 leaderEpoch:i32]]`,
    response: `
      results[
        topicId:uuid partitions[
          partition:i32 errorCode:error errorMessage:string stateEpoch:i32 leaderEpoch:i32 startOffset:i64
          deliveryCompleteCount@1:i32
        ]
      ]
    `,
  },
  {
    key: 90,
    name: 'DescribeShareGroupOffsets',
    versions: [0, 1],
    flexible: 0,
    request: `groups[groupId:string topics[topicName:string partitions[i32]]]`,
    response: `
      throttleTimeMs:i32 groups[
        groupId:string topics[
          topicName:string topicId:uuid partitions[
            partitionIndex:i32 startOffset:i64 leaderEpoch:i32 lag@1:i64 errorCode:error errorMessage:string
          ]
        ] errorCode:error errorMessage:string
      ]
    `,
  },
  {
    key: 91,
    name: 'AlterShareGroupOffsets',
    versions: [0, 0],
    flexible: 0,
    request: `groupId:string topics[topicName:string partitions[partitionIndex:i32 startOffset:i64]]`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string responses[
        topicName:string topicId:uuid partitions[partitionIndex:i32 errorCode:error errorMessage:string]
      ]
    `,
  },
  {
    key: 92,
    name: 'DeleteShareGroupOffsets',
    versions: [0, 0],
    flexible: 0,
    request: `groupId:string topics[topicName:string]`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string responses[
        topicName:string topicId:uuid errorCode:error errorMessage:string
      ]
    `,
  },
]
