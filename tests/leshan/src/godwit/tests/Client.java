package godwit.tests;

import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ScheduledExecutorService;
import org.eclipse.californium.core.network.Endpoint;
import org.eclipse.leshan.client.LeshanClient;
import org.eclipse.leshan.client.LeshanClientBuilder;
import org.eclipse.leshan.client.endpoint.LwM2mClientEndpointsProvider;
import org.eclipse.leshan.client.engine.DefaultRegistrationEngineFactory;
import org.eclipse.leshan.client.object.Server;
import org.eclipse.leshan.client.request.UplinkRequestSender;
import org.eclipse.leshan.client.resource.LwM2mInstanceEnabler;
import org.eclipse.leshan.client.resource.LwM2mObjectEnabler;
import org.eclipse.leshan.client.resource.ObjectEnabler;
import org.eclipse.leshan.client.resource.ObjectsInitializer;
import org.eclipse.leshan.client.servers.LwM2mServer;
import org.eclipse.leshan.core.ResponseCode;
import org.eclipse.leshan.core.model.LwM2mModel;
import org.eclipse.leshan.core.model.ObjectModel;
import org.eclipse.leshan.core.model.ResourceModel;
import org.eclipse.leshan.core.node.LwM2mNode;
import org.eclipse.leshan.core.node.LwM2mPath;
import org.eclipse.leshan.core.node.LwM2mResource;
import org.eclipse.leshan.core.node.LwM2mSingleResource;
import org.eclipse.leshan.core.node.TimestampedLwM2mNodes;
import org.eclipse.leshan.core.request.BindingMode;
import org.eclipse.leshan.core.request.ContentFormat;
import org.eclipse.leshan.core.request.RegisterRequest;
import org.eclipse.leshan.core.request.SendRequest;
import org.eclipse.leshan.core.request.UplinkRequest;
import org.eclipse.leshan.core.response.ErrorCallback;
import org.eclipse.leshan.core.response.LwM2mResponse;
import org.eclipse.leshan.core.response.ResponseCallback;
import org.eclipse.leshan.core.response.SendResponse;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointsProvider;

/**
 * One Leshan client on 127.0.0.1.
 *
 * <p>Options of `start`: uri, ep, lifetime (s), version (1.0 or 1.1), queue (true), period (ms between updates),
 * objects ("3303:0,1;3442:0": instances of objects besides 3), request (ms that it waits for an answer), reconnect (true:
 * each update begins with a resumption); and those of {@link Credential} and {@link Endpoints}.
 */
final class Client {
    private static final long SEND_TIMEOUT_MS = 30_000;

    private final String name;
    private final Output output;
    private final Map<Integer, Map<Integer, MemoryInstance>> instances = new TreeMap<>();
    private final LeshanClient client;
    private final CaliforniumClientEndpointsProvider provider;
    private UplinkRequestSender sender;

    Client(String name, Map<String, String> options, Output output, Threads threads)
            throws Exception {
        this.name = name;
        this.output = output;
        String version = options.getOrDefault("version", "1.1");
        boolean queue = Boolean.parseBoolean(options.getOrDefault("queue", "false"));

        LwM2mModel model = Models.all();
        ObjectsInitializer objects = new ObjectsInitializer(model);
        Credential credential = new Credential(options);
        objects.setInstancesForObject(0, credential.security);
        objects.setInstancesForObject(
                1, new Server(123, Long.parseLong(options.getOrDefault("lifetime", "300"))));
        TreeSet<Integer> ids = new TreeSet<>(Arrays.asList(0, 1));
        for (String object : ("3:0;" + options.getOrDefault("objects", "3303:0;3442:0")).split(";")) {
            String[] parts = object.split(":");
            int id = Integer.parseInt(parts[0]);
            ids.add(id);
            addObject(objects, model.getObjectModel(id), parts.length > 1 ? parts[1].split(",") : new String[0]);
        }

        DefaultRegistrationEngineFactory engine = new DefaultRegistrationEngineFactory();
        engine.setQueueMode(queue);
        engine.setRequestTimeoutInMs(Long.parseLong(options.getOrDefault("request", "30000")));
        engine.setDeregistrationTimeoutInMs(10_000);
        engine.setReconnectOnUpdate(Boolean.parseBoolean(options.getOrDefault("reconnect", "false")));
        if (options.containsKey("period")) {
            engine.setCommunicationPeriod(Integer.valueOf(options.get("period")));
        }

        Watch watch = new Watch(this);
        LeshanClientBuilder builder = new LeshanClientBuilder(options.getOrDefault("ep", name)) {
            @Override
            protected LeshanClient createLeshanClient(
                    org.eclipse.leshan.client.engine.ClientEndpointNameProvider endpoint,
                    List<? extends LwM2mObjectEnabler> enablers,
                    List<org.eclipse.leshan.client.send.DataSender> senders,
                    List<java.security.cert.Certificate> trust,
                    org.eclipse.leshan.client.engine.RegistrationEngineFactory factory,
                    org.eclipse.leshan.client.bootstrap.BootstrapConsistencyChecker checker,
                    Map<String, String> attributes,
                    Map<String, String> bootstrapAttributes,
                    org.eclipse.leshan.core.node.codec.LwM2mEncoder encoder,
                    org.eclipse.leshan.core.node.codec.LwM2mDecoder decoder,
                    ScheduledExecutorService shared,
                    org.eclipse.leshan.core.link.LinkSerializer serializer,
                    org.eclipse.leshan.client.util.LinkFormatHelper links,
                    org.eclipse.leshan.client.servers.ServersInfoExtractor extractor,
                    org.eclipse.leshan.core.link.lwm2m.attributes.LwM2mAttributeParser parser,
                    org.eclipse.leshan.core.endpoint.EndPointUriHandler uris,
                    LwM2mClientEndpointsProvider endpoints) {
                return new LeshanClient(
                        endpoint,
                        enablers,
                        senders,
                        trust,
                        factory,
                        checker,
                        attributes,
                        bootstrapAttributes,
                        encoder,
                        decoder,
                        shared,
                        serializer,
                        links,
                        extractor,
                        parser,
                        uris,
                        endpoints) {
                    @Override
                    protected UplinkRequestSender createRequestSender(LwM2mClientEndpointsProvider provider) {
                        sender = new Versioned(super.createRequestSender(provider), version, queue);
                        return sender;
                    }
                };
            }
        };
        builder.setObjects(objects.create(ids.stream().mapToInt(Integer::intValue).toArray()));
        builder.setRegistrationEngineFactory(engine);
        builder.setSharedExecutor(threads.clients);
        builder.setTrustStore(credential.trust);
        provider = Endpoints.build(options, credential, watch, new Handshakes(this));
        builder.setEndpointsProviders(provider);
        client = builder.build();
        provider.getCoapServer().setExecutor(threads.coap, true);
        client.addObserver(watch);
        client.start();
    }

    void event(String event, Object... fields) {
        output.event(name, event, fields);
    }

    void set(String path, String text, boolean fire) {
        LwM2mPath at = new LwM2mPath(path);
        instance(at).set(at, text, fire);
    }

    /** Tells observers of these paths that they changed, all at once. */
    void fire(List<String> paths) {
        LwM2mPath[] at = paths.stream().map(LwM2mPath::new).toArray(LwM2mPath[]::new);
        instance(at[0]).fireResourcesChange(at);
    }

    Map<String, String> value(String path) {
        LwM2mPath at = new LwM2mPath(path);
        LwM2mResource value = instance(at).value(at.getResourceId());
        return value == null
                ? Map.of()
                : Values.texts("/" + at.getObjectId() + "/" + at.getObjectInstanceId(), value);
    }

    void refuse(String path, String code) {
        LwM2mPath at = new LwM2mPath(path);
        String[] parts = code.split("\\.");
        instance(at)
                .refuse(
                        at.getResourceId(),
                        ResponseCode.fromCode(Integer.parseInt(parts[0]) * 100 + Integer.parseInt(parts[1])));
    }

    /** Forgets a resource's values. */
    void reset(String path) {
        LwM2mPath at = new LwM2mPath(path);
        instance(at).reset(at.getResourceId());
    }

    void update() {
        client.triggerRegistrationUpdate();
    }

    /** Adds an object as it runs, which makes the client update its registration. */
    void addInstance(String path) {
        LwM2mPath at = new LwM2mPath(path);
        MemoryInstance instance = newInstance(at.getObjectId(), at.getObjectInstanceId());
        ObjectEnabler enabler =
                (ObjectEnabler) client.getObjectTree().getObjectEnabler(at.getObjectId());
        instance.setModel(enabler.getObjectModel());
        enabler.addInstance(at.getObjectInstanceId(), instance);
    }

    /** Sends current values, and waits for the answer. */
    String send(ContentFormat format, List<String> paths) throws InterruptedException {
        return code(client.getSendService().sendData(server(), format, paths, SEND_TIMEOUT_MS));
    }

    /** Sends values with times: "seconds path text", each. */
    String sendAt(ContentFormat format, List<String> entries) throws InterruptedException {
        TimestampedLwM2mNodes.Builder nodes = TimestampedLwM2mNodes.builder();
        for (String entry : entries) {
            String[] parts = entry.split(" ", 3);
            LwM2mPath path = new LwM2mPath(parts[1]);
            ResourceModel resource = client.getObjectTree()
                    .getModel()
                    .getResourceModel(path.getObjectId(), path.getResourceId());
            LwM2mNode node = LwM2mSingleResource.newResource(
                    resource.id, Values.parse(resource.type, parts[2]), resource.type);
            nodes.put(Instant.ofEpochMilli(Math.round(Double.parseDouble(parts[0]) * 1000)), path, node);
        }
        SendRequest request = new SendRequest(format, nodes.build(), null);
        return code(sender.send(server(), request, SEND_TIMEOUT_MS));
    }

    /** Before its next request the client resumes its session, or makes a new one. */
    void reconnect(boolean resume) {
        client.getEndpoint(server()).forceReconnection(server(), resume);
    }

    /** Goes on from another port. Connection ids end, sessions can be resumed. */
    void rebind() throws IOException {
        for (Endpoint endpoint : provider.getCoapServer().getEndpoints()) {
            endpoint.stop();
            endpoint.start();
        }
    }

    /** Forgets its session and registers again. */
    void restart() {
        client.stop(false);
        client.start();
    }

    /** Stops for good; tells the server first if `deregister`. */
    void stop(boolean deregister) {
        client.destroy(deregister);
    }

    private static String code(SendResponse response) {
        if (response == null) {
            return "timeout";
        }
        int code = response.getCode().getCode();
        return code / 100 + "." + String.format("%02d", code % 100);
    }

    private LwM2mServer server() {
        return client.getRegisteredServers().values().iterator().next();
    }

    private MemoryInstance instance(LwM2mPath path) {
        synchronized (instances) {
            return instances.get(path.getObjectId()).get(path.getObjectInstanceId());
        }
    }

    private MemoryInstance newInstance(int object, int id) {
        MemoryInstance instance = new MemoryInstance(this);
        instance.setId(id);
        synchronized (instances) {
            instances.computeIfAbsent(object, key -> new HashMap<>()).put(id, instance);
        }
        return instance;
    }

    private void addObject(ObjectsInitializer objects, ObjectModel model, String[] ids) {
        List<LwM2mInstanceEnabler> created = new ArrayList<>();
        for (String id : ids) {
            MemoryInstance instance = newInstance(model.id, Integer.parseInt(id));
            instance.setModel(model);
            initial(instance, model);
            created.add(instance);
        }
        if (!created.isEmpty()) {
            objects.setInstancesForObject(model.id, created.toArray(new LwM2mInstanceEnabler[0]));
        }
        objects.setFactoryForObject(model.id, (object, id, taken) -> {
            int free = 0;
            while (id == null && taken.contains(free)) {
                free++;
            }
            MemoryInstance instance = newInstance(object.id, id == null ? free : id);
            instance.setModel(object);
            event("create", "path", "/" + object.id + "/" + instance.getId());
            return instance;
        });
    }

    /** What instances hold at first. */
    private static void initial(MemoryInstance instance, ObjectModel model) {
        Map<String, String> values = new LinkedHashMap<>();
        if (model.id == 3) {
            values.put("0", "Godwit");
            values.put("1", "Harness");
            values.put("2", "0001");
            values.put("3", "1.0.3");
            values.put("6/0", "1");
            values.put("6/1", "5");
            values.put("7/0", "3800");
            values.put("7/1", "5000");
            values.put("9", "95");
            values.put("11/0", "0");
            values.put("13", "1700000000");
            values.put("14", "+02");
            values.put("16", "U");
        } else if (model.id == 3303) {
            values.put("5601", "18.5");
            values.put("5602", "27.25");
            values.put("5700", "21.5");
            values.put("5701", "Cel");
        }
        values.forEach((path, text) ->
                instance.set(new LwM2mPath("/" + model.id + "/" + instance.getId() + "/" + path), text, false));
    }

    /** Registers as another version than the one that Leshan knows. */
    private static final class Versioned implements UplinkRequestSender {
        private final UplinkRequestSender inner;
        private final String version;
        private final boolean queue;

        Versioned(UplinkRequestSender inner, String version, boolean queue) {
            this.inner = inner;
            this.version = version;
            this.queue = queue;
        }

        @Override
        public <T extends LwM2mResponse> T send(LwM2mServer server, UplinkRequest<T> request, long timeout)
                throws InterruptedException {
            return inner.send(server, versioned(request), timeout);
        }

        @Override
        public <T extends LwM2mResponse> void send(
                LwM2mServer server,
                UplinkRequest<T> request,
                long timeout,
                ResponseCallback<T> response,
                ErrorCallback error) {
            inner.send(server, versioned(request), timeout, response, error);
        }

        @SuppressWarnings("unchecked")
        private <T extends LwM2mResponse> UplinkRequest<T> versioned(UplinkRequest<T> request) {
            if (!(request instanceof RegisterRequest) || version.equals("1.1")) {
                return request;
            }
            RegisterRequest register = (RegisterRequest) request;
            EnumSet<BindingMode> binding = queue ? EnumSet.of(BindingMode.U, BindingMode.Q) : EnumSet.of(BindingMode.U);
            return (UplinkRequest<T>) (UplinkRequest<?>) new RegisterRequest(
                    register.getEndpointName(),
                    register.getLifetime(),
                    version,
                    binding,
                    null,
                    null,
                    register.getObjectLinks(),
                    register.getAdditionalAttributes());
        }
    }
}
