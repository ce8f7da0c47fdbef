import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Prints partitions, replicas and retention of a topic, or nothing where there is none: BROKER TOPIC. */
class DescribeTopic {
    public static void main(String[] arguments) throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, arguments[1]);
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            var made = admin.describeTopics(List.of(topic.name())).allTopicNames().get().get(topic.name());
            var retention = admin.describeConfigs(List.of(topic)).all().get().get(topic).get("retention.ms");
            System.out.println("partitions=" + made.partitions().size());
            System.out.println("replicas=" + made.partitions().get(0).replicas().size());
            System.out.println("retention.ms=" + retention.value());
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof UnknownTopicOrPartitionException)) {
                throw error;
            }
        }
    }
}
