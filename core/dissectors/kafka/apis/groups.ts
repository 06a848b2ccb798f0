/**
 * Consumer and streams groups: members, their partitions, and how far they have read.
 */
import type { Definition } from '../definition.ts'

/** What consumers say to each other by way of the broker, which does not look into it. */
const SUBSCRIPTION =
  'version:i16 topics[string] userData:bytes ownedPartitions@1[topic:string partitions[i32]] generationId@2:i32 ' +
  'rackId@3:string'
const ASSIGNMENT = 'version:i16 assignedPartitions[topic:string partitions[i32]] userData:bytes'

export const GROUPS: readonly Definition[] = [
  {
    key: 8,
    name: 'OffsetCommit',
    versions: [0, 10],
    flexible: 8,
    request: `
      groupId:string generationIdOrMemberEpoch@1:i32 memberId@1:string groupInstanceId@7:string
      retentionTimeMs@2-4:i64 topics[
        topicId@10:uuid name@-9:string partitions[
          partitionIndex:i32 committedOffset:i64 committedLeaderEpoch@6:i32 commitTimestamp@1-1:i64
          committedMetadata:string
        ]
      ]
    `,
    response: `
      throttleTimeMs@3:i32 topics[topicId@10:uuid name@-9:string partitions[partitionIndex:i32 errorCode:error]]
    `,
  },
  {
    key: 9,
    name: 'OffsetFetch',
    versions: [0, 10],
    flexible: 6,
    request: `
      groups@8[
        groupId:string memberId@9:string memberEpoch@9:i32 topics[
          topicId@10:uuid name@-9:string partitionIndexes[i32]
        ]
      ] groupId@-7:string topics@-7[name:string partitionIndexes[i32]] requireStable@7:bool
    `,
    response: `
      throttleTimeMs@3:i32 groups@8[
        groupId:string topics[
          topicId@10:uuid name@-9:string partitions[
            partitionIndex:i32 committedOffset:i64 committedLeaderEpoch:i32 metadata:string errorCode:error
          ]
        ] errorCode:error
      ] topics@-7[
        name:string partitions[
          partitionIndex:i32 committedOffset:i64 committedLeaderEpoch@5:i32 metadata:string errorCode:error
        ]
      ] errorCode@2-7:error
    `,
  },
  {
    key: 10,
    name: 'FindCoordinator',
    versions: [0, 6],
    flexible: 3,
    request: `key@-3:string keyType@1:i8 coordinatorKeys@4[string]`,
    response: `
      throttleTimeMs@1:i32 coordinators@4[
        key:string nodeId:i32 host:string port:i32 errorCode:error errorMessage:string
      ] errorCode@-3:error errorMessage@1-3:string nodeId@-3:i32 host@-3:string port@-3:i32
    `,
  },
  {
    key: 11,
    name: 'JoinGroup',
    versions: [0, 9],
    flexible: 6,
    request: `
      groupId:string sessionTimeoutMs:i32 rebalanceTimeoutMs@1:i32 memberId:string groupInstanceId@5:string
      protocolType:string protocols[name:string metadata(${SUBSCRIPTION})] reason@8:string
    `,
    response: `
      throttleTimeMs@2:i32 errorCode:error generationId:i32 protocolType@7:string protocolName:string
      leader:string skipAssignment@9:bool memberId:string members[
        memberId:string groupInstanceId@5:string metadata(${SUBSCRIPTION})
      ]
    `,
  },
  {
    key: 12,
    name: 'Heartbeat',
    versions: [0, 4],
    flexible: 4,
    request: `groupId:string generationId:i32 memberId:string groupInstanceId@3:string`,
    response: `throttleTimeMs@1:i32 errorCode:error`,
  },
  {
    key: 13,
    name: 'LeaveGroup',
    versions: [0, 5],
    flexible: 4,
    request: `groupId:string members@3[memberId:string groupInstanceId:string reason@5:string] memberId@-2:string`,
    response: `
      throttleTimeMs@1:i32 errorCode:error members@3[memberId:string groupInstanceId:string errorCode:error]
    `,
  },
  {
    key: 14,
    name: 'SyncGroup',
    versions: [0, 5],
    flexible: 4,
    request: `
      groupId:string generationId:i32 memberId:string groupInstanceId@3:string protocolType@5:string
      protocolName@5:string assignments[memberId:string assignment(${ASSIGNMENT})]
    `,
    response: `
      throttleTimeMs@1:i32 errorCode:error protocolType@5:string protocolName@5:string assignment(${ASSIGNMENT})
    `,
  },
  {
    key: 15,
    name: 'DescribeGroups',
    versions: [0, 6],
    flexible: 5,
    request: `groups[string] includeAuthorizedOperations@3:bool`,
    response: `
      throttleTimeMs@1:i32 groups[
        errorCode:error errorMessage@6:string groupId:string groupState:string protocolType:string
        protocolData:string members[
          memberId:string groupInstanceId@4:string clientId:string clientHost:string memberMetadata(${SUBSCRIPTION})
          memberAssignment(${ASSIGNMENT})
        ] authorizedOperations@3:i32
      ]
    `,
  },
  {
    key: 16,
    name: 'ListGroups',
    versions: [0, 5],
    flexible: 3,
    request: `statesFilter@4[string] typesFilter@5[string]`,
    response: `
      throttleTimeMs@1:i32 errorCode:error groups[
        groupId:string protocolType:string groupState@4:string groupType@5:string
      ]
    `,
  },
  {
    key: 42,
    name: 'DeleteGroups',
    versions: [0, 3],
    flexible: 2,
    request: `groupsNames[string]`,
    response: `throttleTimeMs:i32 results[groupId:string errorCode:error errorMessage@3:string]`,
  },
  {
    key: 47,
    name: 'OffsetDelete',
    versions: [0, 0],
    flexible: null,
    request: `groupId:string topics[name:string partitions[partitionIndex:i32]]`,
    response: `errorCode:error throttleTimeMs:i32 topics[name:string partitions[partitionIndex:i32 errorCode:error]]`,
  },
  {
    key: 68,
    name: 'ConsumerGroupHeartbeat',
    versions: [0, 1],
    flexible: 0,
    request: `
      groupId:string memberId:string memberEpoch:i32 instanceId:string rackId:string rebalanceTimeoutMs:i32
      subscribedTopicNames[string] subscribedTopicRegex@1:string serverAssignor:string
      topicPartitions[topicId:uuid partitions[i32]]
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string memberId:string memberEpoch:i32
      heartbeatIntervalMs:i32 assignment?{topicPartitions[topicId:uuid partitions[i32]]}
    `,
  },
  {
    key: 69,
    name: 'ConsumerGroupDescribe',
    versions: [0, 1],
    flexible: 0,
    request: `groupIds[string] includeAuthorizedOperations:bool`,
    response: `
      throttleTimeMs:i32 groups[
        errorCode:error errorMessage:string groupId:string groupState:string groupEpoch:i32 assignmentEpoch:i32
        assignorName:string members[
          memberId:string instanceId:string rackId:string memberEpoch:i32 clientId:string clientHost:string
          subscribedTopicNames[string] subscribedTopicRegex:string assignment{
            topicPartitions[topicId:uuid topicName:string partitions[i32]]
          } targetAssignment{topicPartitions[topicId:uuid topicName:string partitions[i32]]} memberType@1:i8
        ] authorizedOperations:i32
      ]
    `,
  },
  {
    key: 88,
    name: 'StreamsGroupHeartbeat',
    versions: [0, 1],
    flexible: 0,
    request: `
      groupId:string memberId:string memberEpoch:i32 endpointInformationEpoch:i32 instanceId:string
      rackId:string rebalanceTimeoutMs:i32 topology?{
        epoch:i32 subtopologies[
          subtopologyId:string sourceTopics[string] sourceTopicRegex[string] stateChangelogTopics[
            name:string partitions:i32 replicationFactor:i16 topicConfigs[key:string value:string]
          ] repartitionSinkTopics[string] repartitionSourceTopics[
            name:string partitions:i32 replicationFactor:i16 topicConfigs[key:string value:string]
          ] copartitionGroups[sourceTopics[i16] sourceTopicRegex[i16] repartitionSourceTopics[i16]]
        ]
      } activeTasks[subtopologyId:string partitions[i32]] standbyTasks[subtopologyId:string partitions[i32]]
      warmupTasks[subtopologyId:string partitions[i32]] processId:string userEndpoint?{host:string port:u16}
      clientTags[key:string value:string] taskOffsets[subtopologyId:string partition:i32 offset:i64]
      taskEndOffsets[
        subtopologyId:string partition:i32 offset:i64
      ] shutdownApplication:bool
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string memberId:string memberEpoch:i32
      heartbeatIntervalMs:i32 acceptableRecoveryLagLegacy@-0:i32 taskOffsetIntervalMs:i32
      acceptableRecoveryLag@1:i64 status[statusCode:i8 statusDetail:string]
      activeTasks[subtopologyId:string partitions[i32]] standbyTasks[subtopologyId:string partitions[i32]]
      warmupTasks[subtopologyId:string partitions[i32]] topologyDescriptionRequired@1:bool
      endpointInformationEpoch:i32 partitionsByUserEndpoint[
        userEndpoint{host:string port:u16} activePartitions[topic:string partitions[i32]]
        standbyPartitions[topic:string partitions[i32]]
      ]
    `,
  },
  {
    key: 89,
    name: 'StreamsGroupDescribe',
    versions: [0, 1],
    flexible: 0,
    request: `groupIds[string] includeAuthorizedOperations:bool includeTopologyDescription@1:bool`,
    response: `
      throttleTimeMs:i32 groups[
        errorCode:error errorMessage:string groupId:string groupState:string groupEpoch:i32 assignmentEpoch:i32
        topology?{
          epoch:i32 subtopologies[
            subtopologyId:string sourceTopics[string] repartitionSinkTopics[string] stateChangelogTopics[
              name:string partitions:i32 replicationFactor:i16 topicConfigs[key:string value:string]
            ] repartitionSourceTopics[
              name:string partitions:i32 replicationFactor:i16 topicConfigs[key:string value:string]
            ]
          ]
        } members[
          memberId:string memberEpoch:i32 instanceId:string rackId:string clientId:string clientHost:string
          topologyEpoch:i32 processId:string userEndpoint?{host:string port:u16}
          clientTags[key:string value:string] taskOffsets[subtopologyId:string partition:i32 offset:i64]
          taskEndOffsets[
            subtopologyId:string partition:i32 offset:i64
          ] assignment{
            activeTasks[subtopologyId:string partitions[i32]] standbyTasks[subtopologyId:string partitions[i32]]
            warmupTasks[subtopologyId:string partitions[i32]]
          } targetAssignment{
            activeTasks[subtopologyId:string partitions[i32]] standbyTasks[subtopologyId:string partitions[i32]]
            warmupTasks[subtopologyId:string partitions[i32]]
          } isClassic:bool
        ] authorizedOperations:i32 topologyDescription?@1{
          subtopologies[
            subtopologyId:string nodes[
              name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
            ]
          ] globalStores[
            source{
              name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
            } processor{
              name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
            }
          ]
        } topologyDescriptionStatus@1:i8 assignorName@1:string
      ]
    `,
  },
  {
    key: 93,
    name: 'StreamsGroupTopologyDescriptionUpdate',
    versions: [0, 0],
    flexible: 0,
    request: `
      groupId:string memberId:string topologyEpoch:i32 topologyDescription{
        subtopologies[
          subtopologyId:string nodes[
            name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
          ]
        ] globalStores[
          source{
            name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
          } processor{
            name:string nodeType:i8 sourceTopics[string] sinkTopic:string stores[string] successors[string]
          }
        ]
      }
    `,
    response: `throttleTimeMs:i32 errorCode:error errorMessage:string`,
  },
]
