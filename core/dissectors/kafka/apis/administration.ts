/**
 * Topics, settings, access, quotas and partitions, as administrators change them.
 */
import type { Definition } from '../definition.ts'

export const ADMINISTRATION: readonly Definition[] = [
  {
    key: 19,
    name: 'CreateTopics',
    versions: [0, 7],
    flexible: 5,
    request: `
      topics[
        name:string numPartitions:i32 replicationFactor:i16 assignments[partitionIndex:i32 brokerIds[i32]]
        configs[name:string value:setting]
      ] timeoutMs:i32 validateOnly@1:bool
    `,
    response: `
      throttleTimeMs@2:i32 topics[
        name:string topicId@7:uuid errorCode:error errorMessage@1:string numPartitions@5:i32
        replicationFactor@5:i16 configs@5[
          name:string value:setting readOnly:bool configSource:i8 isSensitive:bool
        ] topicConfigErrorCode@5#0:error
      ]
    `,
  },
  {
    key: 20,
    name: 'DeleteTopics',
    versions: [0, 6],
    flexible: 4,
    request: `topics@6[name:string topicId:uuid] topicNames@-5[string] timeoutMs:i32`,
    response: `throttleTimeMs@1:i32 responses[name:string topicId@6:uuid errorCode:error errorMessage@5:string]`,
  },
  {
    key: 29,
    name: 'DescribeAcls',
    versions: [0, 3],
    flexible: 2,
    request: `
      resourceTypeFilter:i8 resourceNameFilter:string patternTypeFilter@1:i8 principalFilter:string
      hostFilter:string operation:i8 permissionType:i8
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string resources[
        resourceType:i8 resourceName:string patternType@1:i8 acls[
          principal:string host:string operation:i8 permissionType:i8
        ]
      ]
    `,
  },
  {
    key: 30,
    name: 'CreateAcls',
    versions: [0, 3],
    flexible: 2,
    request: `
      creations[
        resourceType:i8 resourceName:string resourcePatternType@1:i8 principal:string host:string operation:i8
        permissionType:i8
      ]
    `,
    response: `throttleTimeMs:i32 results[errorCode:error errorMessage:string]`,
  },
  {
    key: 31,
    name: 'DeleteAcls',
    versions: [0, 3],
    flexible: 2,
    request: `
      filters[
        resourceTypeFilter:i8 resourceNameFilter:string patternTypeFilter@1:i8 principalFilter:string
        hostFilter:string operation:i8 permissionType:i8
      ]
    `,
    response: `
      throttleTimeMs:i32 filterResults[
        errorCode:error errorMessage:string matchingAcls[
          errorCode:error errorMessage:string resourceType:i8 resourceName:string patternType@1:i8
          principal:string host:string operation:i8 permissionType:i8
        ]
      ]
    `,
  },
  {
    key: 32,
    name: 'DescribeConfigs',
    versions: [0, 4],
    flexible: 4,
    request: `
      resources[resourceType:i8 resourceName:string configurationKeys[string]] includeSynonyms@1:bool
      includeDocumentation@3:bool
    `,
    response: `
      throttleTimeMs:i32 results[
        errorCode:error errorMessage:string resourceType:i8 resourceName:string configs[
          name:string value:setting readOnly:bool configSource@1:i8 isDefault@-0:bool isSensitive:bool
          synonyms@1[name:string value:setting source:i8] configType@3:i8 documentation@3:string
        ]
      ]
    `,
  },
  {
    key: 33,
    name: 'AlterConfigs',
    versions: [0, 2],
    flexible: 2,
    request: `resources[resourceType:i8 resourceName:string configs[name:string value:setting]] validateOnly:bool`,
    response: `throttleTimeMs:i32 responses[errorCode:error errorMessage:string resourceType:i8 resourceName:string]`,
  },
  {
    key: 34,
    name: 'AlterReplicaLogDirs',
    versions: [0, 2],
    flexible: 2,
    request: `dirs[path:string topics[name:string partitions[i32]]]`,
    response: `throttleTimeMs:i32 results[topicName:string partitions[partitionIndex:i32 errorCode:error]]`,
  },
  {
    key: 35,
    name: 'DescribeLogDirs',
    versions: [0, 5],
    flexible: 2,
    request: `topics[topic:string partitions[i32]]`,
    response: `
      throttleTimeMs:i32 errorCode@3:error results[
        errorCode:error logDir:string topics[
          name:string partitions[partitionIndex:i32 partitionSize:i64 offsetLag:i64 isFutureKey:bool]
        ] totalBytes@4:i64 usableBytes@4:i64 isCordoned@5:bool
      ]
    `,
  },
  {
    key: 37,
    name: 'CreatePartitions',
    versions: [0, 3],
    flexible: 2,
    request: `topics[name:string count:i32 assignments[brokerIds[i32]]] timeoutMs:i32 validateOnly:bool`,
    response: `throttleTimeMs:i32 results[name:string errorCode:error errorMessage:string]`,
  },
  {
    key: 43,
    name: 'ElectLeaders',
    versions: [0, 2],
    flexible: 2,
    request: `electionType@1:i8 topicPartitions[topic:string partitions[i32]] timeoutMs:i32`,
    response: `
      throttleTimeMs:i32 errorCode@1:error replicaElectionResults[
        topic:string partitionResult[partitionId:i32 errorCode:error errorMessage:string]
      ]
    `,
  },
  {
    key: 44,
    name: 'IncrementalAlterConfigs',
    versions: [0, 1],
    flexible: 1,
    request: `
      resources[resourceType:i8 resourceName:string configs[name:string configOperation:i8 value:setting]]
      validateOnly:bool
    `,
    response: `throttleTimeMs:i32 responses[errorCode:error errorMessage:string resourceType:i8 resourceName:string]`,
  },
  {
    key: 45,
    name: 'AlterPartitionReassignments',
    versions: [0, 1],
    flexible: 0,
    request: `
      timeoutMs:i32 allowReplicationFactorChange@1:bool topics[
        name:string partitions[partitionIndex:i32 replicas[i32]]
      ]
    `,
    response: `
      throttleTimeMs:i32 allowReplicationFactorChange@1:bool errorCode:error errorMessage:string responses[
        name:string partitions[partitionIndex:i32 errorCode:error errorMessage:string]
      ]
    `,
  },
  {
    key: 46,
    name: 'ListPartitionReassignments',
    versions: [0, 0],
    flexible: 0,
    request: `timeoutMs:i32 topics[name:string partitionIndexes[i32]]`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string topics[
        name:string partitions[partitionIndex:i32 replicas[i32] addingReplicas[i32] removingReplicas[i32]]
      ]
    `,
  },
  {
    key: 48,
    name: 'DescribeClientQuotas',
    versions: [0, 1],
    flexible: 1,
    request: `components[entityType:string matchType:i8 match:string] strict:bool`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string entries[
        entity[entityType:string entityName:string] values[key:string value:f64]
      ]
    `,
  },
  {
    key: 49,
    name: 'AlterClientQuotas',
    versions: [0, 1],
    flexible: 1,
    request: `
      entries[entity[entityType:string entityName:string] ops[key:string value:f64 remove:bool]]
      validateOnly:bool
    `,
    response: `
      throttleTimeMs:i32 entries[
        errorCode:error errorMessage:string entity[entityType:string entityName:string]
      ]
    `,
  },
  {
    key: 57,
    name: 'UpdateFeatures',
    versions: [0, 2],
    flexible: 0,
    request: `
      timeoutMs:i32 featureUpdates[feature:string maxVersionLevel:i16 upgradeType@1:i8 allowDowngrade@-0:bool]
      validateOnly@1:bool
    `,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string results@-1[
        feature:string errorCode:error errorMessage:string
      ]
    `,
  },
  {
    key: 60,
    name: 'DescribeCluster',
    versions: [0, 2],
    flexible: 0,
    request: `includeClusterAuthorizedOperations:bool endpointType@1:i8 includeFencedBrokers@2:bool`,
    response: `
      throttleTimeMs:i32 errorCode:error errorMessage:string endpointType@1:i8 clusterId:string controllerId:i32
      brokers[
        brokerId:i32 host:string port:i32 rack:string isFenced@2:bool
      ] clusterAuthorizedOperations:i32
    `,
  },
  {
    key: 74,
    name: 'ListConfigResources',
    versions: [0, 1],
    flexible: 0,
    request: `resourceTypes@1[i8]`,
    response: `throttleTimeMs:i32 errorCode:error configResources[resourceName:string resourceType@1:i8]`,
  },
]
