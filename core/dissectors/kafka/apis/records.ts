/**
 * Writing and reading records, and finding who leads the partitions they are in.
 */
import type { Definition } from '../definition.ts'

export const RECORDS: readonly Definition[] = [
  {
    key: 0,
    name: 'Produce',
    versions: [0, 13],
    flexible: 9,
    request: `
      transactionalID@3:string requiredAcks:acks timeout:i32 topicData[
        topicId@13:uuid topic@-12:string partitions[index:i32 records:records]
      ]
    `,
    response: `
      responses[
        topicId@13:uuid name@-12:string partitionResponses[
          index:i32 errorCode:error baseOffset:i64 logAppendTimeMs@2:i64 logStartOffset@5:i64 recordErrors@8[
            batchIndex:i32 batchIndexErrorMessage:string
          ] errorMessage@8:string currentLeader@10#0{leaderId:i32 leaderEpoch:i32}
        ]
      ] throttleTimeMs@1:i32 nodeEndpoints@10#0[nodeId:i32 host:string port:i32 rack:string]
    `,
  },
  {
    key: 1,
    name: 'Fetch',
    versions: [0, 18],
    flexible: 12,
    request: `
      replicaId@-14:i32 maxWaitMs:i32 minBytes:i32 maxBytes@3:i32 isolationLevel@4:i8 sessionId@7:i32
      sessionEpoch@7:i32 topics[
        topicId@13:uuid topic@-12:string partitions[
          partition:i32 currentLeaderEpoch@9:i32 fetchOffset:i64 lastFetchedEpoch@12:i32 logStartOffset@5:i64
          partitionMaxBytes:i32 replicaDirectoryId@17#0:uuid highWatermark@18#1:i64
        ]
      ] forgottenTopicsData@7[topicId@13:uuid topic@-12:string partitions[i32]] rackId@11:string
      clusterId@12#0:string replicaState@15#1{replicaId:i32 replicaEpoch:i64}
    `,
    response: `
      throttleTimeMs@1:i32 errorCode@7:error sessionId@7:i32 responses[
        topicId@13:uuid topic@-12:string partitions[
          partitionIndex:i32 errorCode:error highWatermark:i64 lastStableOffset@4:i64 logStartOffset@5:i64
          abortedTransactions@4[
            producerId:i64 firstOffset:i64
          ] preferredReadReplica@11:i32 records:records divergingEpoch@12#0{epoch:i32 endOffset:i64}
          currentLeader@12#1{leaderId:i32 leaderEpoch:i32} snapshotId@12#2{endOffset:i64 epoch:i32}
        ]
      ] nodeEndpoints@16#0[nodeId:i32 host:string port:i32 rack:string]
    `,
  },
  {
    key: 2,
    name: 'ListOffsets',
    versions: [0, 11],
    flexible: 6,
    request: `
      replicaId:i32 isolationLevel@2:i8 topics[
        name:string partitions[partitionIndex:i32 currentLeaderEpoch@4:i32 timestamp:i64 maxNumOffsets@-0:i32]
      ] timeoutMs@10:i32
    `,
    response: `
      throttleTimeMs@2:i32 topics[
        name:string partitions[
          partitionIndex:i32 errorCode:error timestamp@1:i64 offset@1:i64 leaderEpoch@4:i32
          oldStyleOffsets@-0[i64]
        ]
      ]
    `,
  },
  {
    key: 3,
    name: 'Metadata',
    versions: [0, 13],
    flexible: 9,
    request: `
      topics[topicId@10:uuid name:string] allowAutoTopicCreation@4:bool
      includeClusterAuthorizedOperations@8-10:bool includeTopicAuthorizedOperations@8:bool
    `,
    response: `
      throttleTimeMs@3:i32 brokers[nodeId:i32 host:string port:i32 rack@1:string] clusterID@2:string
      controllerID@1:i32 topics[
        errorCode:error name:string topicID@10:uuid isInternal@1:bool partitions[
          errorCode:error partitionIndex:i32 leaderId:i32 leaderEpoch@7:i32 replicaNodes[i32] isrNodes[i32]
          offlineReplicas@5[i32]
        ] topicAuthorizedOperations@8:i32
      ] errorCode@13:error clusterAuthorizedOperations@8-10:i32
    `,
  },
  {
    key: 21,
    name: 'DeleteRecords',
    versions: [0, 2],
    flexible: 2,
    request: `topics[name:string partitions[partitionIndex:i32 offset:i64]] timeoutMs:i32`,
    response: `
      throttleTimeMs:i32 topics[name:string partitions[partitionIndex:i32 lowWatermark:i64 errorCode:error]]
    `,
  },
  {
    key: 23,
    name: 'OffsetForLeaderEpoch',
    versions: [0, 4],
    flexible: 4,
    request: `
      replicaId@3:i32 topics[topic:string partitions[partition:i32 currentLeaderEpoch@2:i32 leaderEpoch:i32]]
    `,
    response: `
      throttleTimeMs@2:i32 topics[
        topic:string partitions[errorCode:error partition:i32 leaderEpoch@1:i32 endOffset:i64]
      ]
    `,
  },
  {
    key: 75,
    name: 'DescribeTopicPartitions',
    versions: [0, 0],
    flexible: 0,
    request: `topics[name:string] responsePartitionLimit:i32 cursor?{topicName:string partitionIndex:i32}`,
    response: `
      throttleTimeMs:i32 topics[
        errorCode:error name:string topicId:uuid isInternal:bool partitions[
          errorCode:error partitionIndex:i32 leaderId:i32 leaderEpoch:i32 replicaNodes[i32] isrNodes[i32]
          eligibleLeaderReplicas[i32] lastKnownElr[i32] offlineReplicas[i32]
        ] topicAuthorizedOperations:i32
      ] nextCursor?{topicName:string partitionIndex:i32}
    `,
  },
]
