/**
 * What brokers and controllers say to each other.
 */
import type { Definition } from '../definition.ts'

export const CLUSTER: readonly Definition[] = [
  {
    key: 4,
    name: 'LeaderAndIsr',
    versions: [0, 7],
    flexible: 4,
    request: `
      controllerId:i32 isKRaftController@7:bool controllerEpoch:i32 brokerEpoch@2:i64 type@5:i8 topicStates@2[
        topicName:string topicId@5:uuid partitionStates[
          partitionIndex:i32 controllerEpoch:i32 leader:i32 leaderEpoch:i32 isr[i32] partitionEpoch:i32
          replicas[i32] addingReplicas@3[i32] removingReplicas@3[i32] isNew:bool leaderRecoveryState@6:i8
        ]
      ] ungroupedPartitionStates@-1[
        topicName:string partitionIndex:i32 controllerEpoch:i32 leader:i32 leaderEpoch:i32 isr[i32]
        partitionEpoch:i32 replicas[i32] isNew@1:bool
      ] liveLeaders[brokerId:i32 hostName:string port:i32]
    `,
    response: `
      errorCode:error topics@5[topicId:uuid partitionErrors[partitionIndex:i32 errorCode:error]]
      partitionErrors@-4[
        topicName:string partitionIndex:i32 errorCode:error
      ]
    `,
  },
  {
    key: 5,
    name: 'StopReplica',
    versions: [0, 4],
    flexible: 2,
    request: `
      controllerId:i32 isKRaftController@4:bool controllerEpoch:i32 brokerEpoch@1:i64 topicStates@3[
        topicName:string partitionStates[partitionIndex:i32 leaderEpoch:i32 deletePartition:bool]
      ] deletePartitions@-2:bool topics@1-2[name:string partitionIndexes[i32]] ungroupedPartitions@-0[
        topicName:string partitionIndex:i32
      ]
    `,
    response: `errorCode:error partitionErrors[topicName:string partitionIndex:i32 errorCode:error]`,
  },
  {
    key: 6,
    name: 'UpdateMetadata',
    versions: [0, 8],
    flexible: 6,
    request: `
      controllerId:i32 isKRaftController@8:bool controllerEpoch:i32 brokerEpoch@5:i64 topicStates@5[
        topicName:string topicId@7:uuid partitionStates[
          partitionIndex:i32 controllerEpoch:i32 leader:i32 leaderEpoch:i32 isr[i32] zkVersion:i32 replicas[i32]
          offlineReplicas[i32]
        ]
      ] ungroupedPartitionStates@-4[
        topicName:string partitionIndex:i32 controllerEpoch:i32 leader:i32 leaderEpoch:i32 isr[i32]
        zkVersion:i32 replicas[i32] offlineReplicas@4[i32]
      ] liveBrokers[
        id:i32 endpoints@1[port:i32 host:string listener@3:string securityProtocol:i16] rack@2:string
        v0Host@-0:string v0Port@-0:i32
      ] type@8#0:i8
    `,
    response: `errorCode:error`,
  },
  {
    key: 7,
    name: 'ControlledShutdown',
    versions: [0, 3],
    flexible: 3,
    request: `brokerId:i32 brokerEpoch@2:i64`,
    response: `errorCode:error remainingPartitions[topicName:string partitionIndex:i32]`,
  },
  {
    key: 52,
    name: 'Vote',
    versions: [0, 2],
    flexible: 0,
    request: `
      clusterId:string voterId@1:i32 topics[
        topicName:string partitions[
          partitionIndex:i32 replicaEpoch:i32 replicaId:i32 replicaDirectoryId@1:uuid voterDirectoryId@1:uuid
          lastOffsetEpoch:i32 lastOffset:i64 preVote@2:bool
        ]
      ]
    `,
    response: `
      errorCode:error topics[
        topicName:string partitions[
          partitionIndex:i32 errorCode:error leaderId:i32 leaderEpoch:i32 voteGranted:bool
        ]
      ] nodeEndpoints@1#0[nodeId:i32 host:string port:u16]
    `,
  },
  {
    key: 53,
    name: 'BeginQuorumEpoch',
    versions: [0, 1],
    flexible: 1,
    request: `
      clusterId:string voterId@1:i32 topics[
        topicName:string partitions[partitionIndex:i32 voterDirectoryId@1:uuid leaderId:i32 leaderEpoch:i32]
      ] leaderEndpoints@1[name:string host:string port:u16]
    `,
    response: `
      errorCode:error topics[
        topicName:string partitions[partitionIndex:i32 errorCode:error leaderId:i32 leaderEpoch:i32]
      ] nodeEndpoints@1#0[nodeId:i32 host:string port:u16]
    `,
  },
  {
    key: 54,
    name: 'EndQuorumEpoch',
    versions: [0, 1],
    flexible: 1,
    request: `
      clusterId:string topics[
        topicName:string partitions[
          partitionIndex:i32 leaderId:i32 leaderEpoch:i32 preferredCandidates@1[
            candidateId:i32 candidateDirectoryId:uuid
          ] preferredSuccessors@-0[i32]
        ]
      ] leaderEndpoints@1[name:string host:string port:u16]
    `,
    response: `
      errorCode:error topics[
        topicName:string partitions[partitionIndex:i32 errorCode:error leaderId:i32 leaderEpoch:i32]
      ] nodeEndpoints@1#0[nodeId:i32 host:string port:u16]
    `,
  },
  {
    key: 55,
    name: 'DescribeQuorum',
    versions: [0, 2],
    flexible: 0,
    request: `topics[topicName:string partitions[partitionIndex:i32]]`,
    response: `
      errorCode:error errorMessage@2:string topics[
        topicName:string partitions[
          partitionIndex:i32 errorCode:error errorMessage@2:string leaderId:i32 leaderEpoch:i32
          highWatermark:i64 currentVoters[
            replicaId:i32 replicaDirectoryId@2:uuid logEndOffset:i64 lastFetchTimestamp@1:i64
            lastCaughtUpTimestamp@1:i64
          ] observers[
            replicaId:i32 replicaDirectoryId@2:uuid logEndOffset:i64 lastFetchTimestamp@1:i64
            lastCaughtUpTimestamp@1:i64
          ]
        ]
      ] nodes@2[nodeId:i32 listeners[name:string host:string port:u16]]
    `,
  },
  {
    key: 56,
    name: 'AlterPartition',
    versions: [0, 3],
    flexible: 0,
    request: `
      brokerId:i32 brokerEpoch:i64 topics[
        topicId@2:uuid topicName@-1:string partitions[
          partitionIndex:i32 leaderEpoch:i32 newIsrWithEpochs@3[brokerId:i32 brokerEpoch:i64] newIsr@-2[i32]
          leaderRecoveryState@1:i8 partitionEpoch:i32
        ]
      ]
    `,
    response: `
      throttleTimeMs:i32 errorCode:error topics[
        topicId@2:uuid topicName@-1:string partitions[
          partitionIndex:i32 errorCode:error leaderId:i32 leaderEpoch:i32 isr[i32] leaderRecoveryState@1:i8
          partitionEpoch:i32
        ]
      ]
    `,
  },
  {
    key: 58,
    name: 'Envelope',
    versions: [0, 0],
    flexible: 0,
    request: `requestData:secret requestPrincipal:bytes clientHostAddress:bytes`,
    response: `responseData:secret errorCode:error`,
  },
  {
    key: 59,
    name: 'FetchSnapshot',
    versions: [0, 1],
    flexible: 0,
    request: `
      replicaId:i32 maxBytes:i32 topics[
        name:string partitions[
          partition:i32 currentLeaderEpoch:i32 snapshotId{endOffset:i64 epoch:i32} position:i64
          replicaDirectoryId@1#0:uuid
        ]
      ] clusterId#0:string
    `,
    response: `
      throttleTimeMs:i32 errorCode:error topics[
        name:string partitions[
          index:i32 errorCode:error snapshotId{endOffset:i64 epoch:i32} size:i64 position:i64
          unalignedRecords:records currentLeader#0{leaderId:i32 leaderEpoch:i32}
        ]
      ] nodeEndpoints@1#0[nodeId:i32 host:string port:u16]
    `,
  },
  {
    key: 62,
    name: 'BrokerRegistration',
    versions: [0, 4],
    flexible: 0,
    request: `
      brokerId:i32 clusterId:string incarnationId:uuid listeners[
        name:string host:string port:u16 securityProtocol:i16
      ] features[name:string minSupportedVersion:i16 maxSupportedVersion:i16] rack:string
      isMigratingZkBroker@1:bool logDirs@2[uuid] previousBrokerEpoch@3:i64
    `,
    response: `throttleTimeMs:i32 errorCode:error brokerEpoch:i64`,
  },
  {
    key: 63,
    name: 'BrokerHeartbeat',
    versions: [0, 2],
    flexible: 0,
    request: `
      brokerId:i32 brokerEpoch:i64 currentMetadataOffset:i64 wantFence:bool wantShutDown:bool
      offlineLogDirs@1#0[uuid] cordonedLogDirs@2#1[uuid]
    `,
    response: `throttleTimeMs:i32 errorCode:error isCaughtUp:bool isFenced:bool shouldShutDown:bool`,
  },
  {
    key: 64,
    name: 'UnregisterBroker',
    versions: [0, 0],
    flexible: 0,
    request: `brokerId:i32`,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
  {
    key: 70,
    name: 'ControllerRegistration',
    versions: [0, 0],
    flexible: 0,
    request: `
      controllerId:i32 incarnationId:uuid zkMigrationReady:bool listeners[
        name:string host:string port:u16 securityProtocol:i16
      ] features[name:string minSupportedVersion:i16 maxSupportedVersion:i16]
    `,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
  {
    key: 73,
    name: 'AssignReplicasToDirs',
    versions: [0, 0],
    flexible: 0,
    request: `brokerId:i32 brokerEpoch:i64 directories[id:uuid topics[topicId:uuid partitions[partitionIndex:i32]]]`,
    response: `
      throttleTimeMs:i32 errorCode:error directories[
        id:uuid topics[topicId:uuid partitions[partitionIndex:i32 errorCode:error]]
      ]
    `,
  },
  {
    key: 80,
    name: 'AddRaftVoter',
    versions: [0, 1],
    flexible: 0,
    request: `
      clusterId:string timeoutMs:i32 voterId:i32 voterDirectoryId:uuid
      listeners[name:string host:string port:u16] ackWhenCommitted@1:bool
    `,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
  {
    key: 81,
    name: 'RemoveRaftVoter',
    versions: [0, 0],
    flexible: 0,
    request: `clusterId:string voterId:i32 voterDirectoryId:uuid`,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
  {
    key: 82,
    name: 'UpdateRaftVoter',
    versions: [0, 0],
    flexible: 0,
    request: `
      clusterId:string currentLeaderEpoch:i32 voterId:i32 voterDirectoryId:uuid
      listeners[name:string host:string port:u16] kRaftVersionFeature{
        minSupportedVersion:i16 maxSupportedVersion:i16
      }
    `,
    response: `throttleTimeMs:i32 errorCode:error currentLeader#0{leaderId:i32 leaderEpoch:i32 host:string port:i32}`,
  },
  {
    key: 94,
    name: 'UnregisterController',
    versions: [0, 0],
    flexible: 0,
    request: `controllerId:i32`,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
]
