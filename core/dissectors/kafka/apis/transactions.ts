/**
 * Transactions and the producers that make them.
 */
import type { Definition } from '../definition.ts'

export const TRANSACTIONS: readonly Definition[] = [
  {
    key: 22,
    name: 'InitProducerId',
    versions: [0, 6],
    flexible: 2,
    request: `
      transactionalId:string transactionTimeoutMs:i32 producerId@3:i64 producerEpoch@3:i16 enable2Pc@6:bool
      keepPreparedTxn@6:bool
    `,
    response: `
      throttleTimeMs:i32 errorCode:error producerId:i64 producerEpoch:i16 ongoingTxnProducerId@6:i64
      ongoingTxnProducerEpoch@6:i16
    `,
  },
  {
    key: 24,
    name: 'AddPartitionsToTxn',
    versions: [0, 5],
    flexible: 3,
    request: `
      transactions@4[
        transactionalId:string producerId:i64 producerEpoch:i16 verifyOnly:bool
        topics[name:string partitions[i32]]
      ] v3AndBelowTransactionalId@-3:string v3AndBelowProducerId@-3:i64 v3AndBelowProducerEpoch@-3:i16
      v3AndBelowTopics@-3[name:string partitions[i32]]
    `,
    response: `
      throttleTimeMs:i32 errorCode@4:error resultsByTransaction@4[
        transactionalId:string topicResults[
          name:string resultsByPartition[partitionIndex:i32 partitionErrorCode:error]
        ]
      ] resultsByTopicV3AndBelow@-3[name:string resultsByPartition[partitionIndex:i32 partitionErrorCode:error]]
    `,
  },
  {
    key: 25,
    name: 'AddOffsetsToTxn',
    versions: [0, 4],
    flexible: 3,
    request: `transactionalId:string producerId:i64 producerEpoch:i16 groupId:string`,
    response: `throttleTimeMs:i32 errorCode:error`,
  },
  {
    key: 26,
    name: 'EndTxn',
    versions: [0, 5],
    flexible: 3,
    request: `transactionalId:string producerId:i64 producerEpoch:i16 committed:bool`,
    response: `throttleTimeMs:i32 errorCode:error producerId@5:i64 producerEpoch@5:i16`,
  },
  {
    key: 27,
    name: 'WriteTxnMarkers',
    versions: [0, 2],
    flexible: 1,
    request: `
      markers[
        producerId:i64 producerEpoch:i16 transactionResult:bool topics[name:string partitionIndexes[i32]]
        coordinatorEpoch:i32 transactionVersion@2:i8
      ]
    `,
    response: `markers[producerId:i64 topics[name:string partitions[partitionIndex:i32 errorCode:error]]]`,
  },
  {
    key: 28,
    name: 'TxnOffsetCommit',
    versions: [0, 6],
    flexible: 3,
    request: `
      transactionalId:string groupId:string producerId:i64 producerEpoch:i16 generationIdOrMemberEpoch@3:i32
      memberId@3:string groupInstanceId@3:string topics[
        topicId@6:uuid name@-5:string partitions[
          partitionIndex:i32 committedOffset:i64 committedLeaderEpoch@2:i32 committedMetadata:string
        ]
      ]
    `,
    response: `
      throttleTimeMs:i32 topics[topicId@6:uuid name@-5:string partitions[partitionIndex:i32 errorCode:error]]
    `,
  },
  {
    key: 61,
    name: 'DescribeProducers',
    versions: [0, 0],
    flexible: 0,
    request: `topics[name:string partitionIndexes[i32]]`,
    response: `
      throttleTimeMs:i32 topics[
        name:string partitions[
          partitionIndex:i32 errorCode:error errorMessage:string activeProducers[
            producerId:i64 producerEpoch:i32 lastSequence:i32 lastTimestamp:i64 coordinatorEpoch:i32
            currentTxnStartOffset:i64
          ]
        ]
      ]
    `,
  },
  {
    key: 65,
    name: 'DescribeTransactions',
    versions: [0, 0],
    flexible: 0,
    request: `transactionalIds[string]`,
    response: `
      throttleTimeMs:i32 transactionStates[
        errorCode:error transactionalId:string transactionState:string transactionTimeoutMs:i32
        transactionStartTimeMs:i64 producerId:i64 producerEpoch:i16 topics[topic:string partitions[i32]]
      ]
    `,
  },
  {
    key: 66,
    name: 'ListTransactions',
    versions: [0, 2],
    flexible: 0,
    request: `stateFilters[string] producerIdFilters[i64] durationFilter@1:i64 transactionalIdPattern@2:string`,
    response: `
      throttleTimeMs:i32 errorCode:error unknownStateFilters[string] transactionStates[
        transactionalId:string producerId:i64 transactionState:string
      ]
    `,
  },
  {
    key: 67,
    name: 'AllocateProducerIds',
    versions: [0, 0],
    flexible: 0,
    request: `brokerId:i32 brokerEpoch:i64`,
    response: `throttleTimeMs:i32 errorCode:error producerIdStart:i64 producerIdLen:i32`,
  },
]
